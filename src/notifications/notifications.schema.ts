import { z } from 'zod';
import { about, nameField, oneOf, pageFields, text } from '../http/request.schema.js';
import { DELIVERY_STATES } from '../notices/deliveries.js';
import { NOTICE_KINDS } from '../notices/notice.js';
import type { Channel } from './channel-rows.js';
import { KIND_NAMES, KINDS } from './channel-settings.js';

const KIND = `one of ${KIND_NAMES.join(', ')}`;
const ENABLED = 'true or false';

const kind = z.enum(KIND_NAMES, { error: KIND });
const enabled = z.boolean({ error: ENABLED });
/** Checked by the kind: see `checkSettings`. */
const settings = z.unknown();

export const channelBody = z.object({ name: nameField, kind, enabled: enabled.optional(), settings });
export const channelChange = z.object({ name: nameField, enabled, settings });

// The same for the description.
const anySettings = z.union(Object.values(KINDS).map((one) => one.settings)).describe('of the kind');
export const describedBody = channelBody.extend({ settings: anySettings });
export const describedChange = channelChange.extend({ settings: anySettings }).partial();

export const channelsQuery = z.object({
  kind: about('Channels of this kind', oneOf(...KIND_NAMES)).optional(),
  ...pageFields,
});

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const uuid = text((given) => (UUID.test(given) ? given.toLowerCase() : undefined), 'an id');
export const deliveriesQuery = z.object({
  channel_id: about('Deliveries to this channel', uuid).optional(),
  notice_id: about('Deliveries of this notice', uuid).optional(),
  state: about('How they stand', oneOf(...DELIVERY_STATES)).optional(),
  ...pageFields,
});

// What the routes answer, for their description.
const id = z.string().meta({ format: 'uuid' });
const time = z.custom<Date>().meta({ type: 'string', format: 'date-time' });

export const channelAnswer = z.object({
  id,
  name: z.string(),
  kind: z.enum(KIND_NAMES),
  enabled: z.boolean(),
  settings: z.record(z.string(), z.unknown()).describe('secrets are shown as ***'),
  has_secret: z.boolean(),
  secret_readable: z.boolean().describe('false: its secrets were encrypted under another SECRET_KEY'),
  created_by: z.string().describe('id of the user or key that made it'),
  created_at: time,
  updated_at: time,
}) satisfies z.ZodType<Channel>;

/** How a test message fared. */
export interface TestResult {
  sent: boolean;
  /** What the receiver answered: an HTTP status or an SMTP reply code; null: nothing. */
  status: number | null;
  /** Why it failed, or what was not taken. */
  reason: string | null;
  delivery_id: string;
  elapsed_ms: number;
}

export const testAnswer = z.object({
  sent: z.boolean(),
  status: z.int().nullable().describe('the receiver’s HTTP status or SMTP reply code; null: it gave none'),
  reason: z.string().nullable(),
  delivery_id: id,
  elapsed_ms: z.number(),
}) satisfies z.ZodType<TestResult>;

/** One notice on its way to one channel. */
export interface Delivery {
  id: string;
  notice_id: string;
  kind: (typeof NOTICE_KINDS)[number];
  summary: string;
  rule_id: string | null;
  channel_id: string;
  channel_name: string;
  channel_kind: string;
  state: (typeof DELIVERY_STATES)[number];
  attempts: number;
  last_status: number | null;
  last_error: string | null;
  created_at: Date;
  updated_at: Date;
  finished_at: Date | null;
}

export const deliveryAnswer = z.object({
  id,
  notice_id: id.describe('receivers know a message again by it and the channel'),
  kind: z.enum(NOTICE_KINDS),
  summary: z.string(),
  rule_id: id.nullable(),
  channel_id: id,
  channel_name: z.string(),
  channel_kind: z.string(),
  state: z.enum(DELIVERY_STATES),
  attempts: z.int(),
  last_status: z.int().nullable().describe('the receiver’s HTTP status or SMTP reply code'),
  last_error: z.string().nullable(),
  created_at: time,
  updated_at: time,
  finished_at: time.nullable(),
}) satisfies z.ZodType<Delivery>;
