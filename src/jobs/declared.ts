import { z } from 'zod';
import { DATA_TYPES } from '../retention.js';
import type { JobQueue } from './job-queue.js';

const uuid = z.uuid();
/** Milliseconds since 1970. */
const time = z.int().min(0);

/** One evaluation of one alert rule. */
export const ALERT_EVALUATION = {
  name: 'alert-evaluation',
  payload: z.strictObject({
    organization_id: uuid,
    workspace_id: uuid,
    tenant_id: uuid,
    rule_id: uuid,
    /** The point in time that is evaluated. */
    tick: time,
  }),
  isRedone: true,
} satisfies JobQueue<{ rule_id: string }>;

/** Rolling metrics up: what is missing until now, hours and then days. */
export const AGGREGATION = {
  name: 'aggregation',
  payload: z.strictObject({ step: z.enum(['hourly', 'daily']) }),
  isRedone: true,
} satisfies JobQueue<{ step: string }>;

/** Telling one incident's change to one channel; `delivery_id` is a row written together with the change. */
export const NOTIFICATION = {
  name: 'notification',
  payload: z.strictObject({ delivery_id: uuid }),
} satisfies JobQueue<{ delivery_id: string }>;

/** Dropping what has outlived its retention. */
export const CLEANUP = {
  name: 'cleanup',
  payload: z.strictObject({
    data_type: z.enum(['all', ...DATA_TYPES]),
  }),
} satisfies JobQueue<{ data_type: string }>;

/** Every queue that has handlers: the process does not start when one has none, or two. */
export const DECLARED = [ALERT_EVALUATION, AGGREGATION, NOTIFICATION, CLEANUP] as const;
