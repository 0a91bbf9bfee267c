import { z } from 'zod';
import { about, oneOf, pageFields } from '../http/request.schema.js';
import type { JobInfo, JobState } from '../jobs/job-queue.js';
import { QUEUE_NAMES, type QueueNumbers } from '../queue-numbers.js';
import type { QueueFigure } from './queue-figures.js';

export const JOB_STATES = [
  'waiting',
  'delayed',
  'active',
  'completed',
  'failed',
] as const satisfies JobState[];

export const queueParams = z.object({ name: z.enum(QUEUE_NAMES) });
export const queueQuery = z.object({
  state: about(
    'Also lists jobs of this state, failed ones with their reason',
    oneOf(...JOB_STATES),
  ).optional(),
  page: pageFields.page,
  limit: pageFields.limit,
});
const jobIds = z
  .array(z.string({ error: 'a list of job ids' }), { error: 'a list of job ids' })
  .max(10_000, { error: 'at most 10000 ids' })
  .optional();
export const retryBody = z.object({
  ids: jobIds.describe('which of the failed jobs; all unless given'),
});
/** What is dropped does not come back, so that it is all of them has to be said. */
export const dropBody = z
  .object({
    ids: jobIds.describe('which of the failed jobs'),
    all: z.literal(true, { error: 'true, or left out' }).optional().describe('all of them'),
  })
  .refine(({ ids, all }) => (ids === undefined) === (all === true), {
    path: ['ids'],
    error: 'either ids, or "all": true',
  });

const time = z.string().describe('ISO 8601');
export const queueFigure = z.object({
  name: z.enum(QUEUE_NAMES),
  priority: z.int().describe('2 high, 3 medium, 4 low'),
  workers: z.int().describe('jobs at once, of one process'),
  per_second: z.int().describe('jobs started in a second at most, of all processes'),
  tries: z.int(),
  first_backoff_ms: z.int(),
  waiting: z.int(),
  active: z.int(),
  delayed: z.int(),
  completed: z.int().describe('since the queue was made; the ingestion on disk: since the process began'),
  failed: z.int().describe('in the failed set'),
  paused: z.boolean(),
  jobs_per_second: z.number().describe('over the last minute, as the next two'),
  average_ms: z.number().nullable(),
  success_percent: z.number().nullable().describe('of the tries'),
  lag_ms: z.number().describe('age of the oldest job that could run and does not'),
  health: z.enum(['ok', 'paused', 'scale_up', 'alert']),
  advice: z.array(z.string()),
});
export type QueueAnswer = z.output<typeof queueFigure>;
export const queueList = z.object({ data: z.array(queueFigure) });

const job = z.object({
  id: z.string(),
  state: z.enum(JOB_STATES),
  payload: z.unknown(),
  attempt: z.int(),
  added_at: time,
  due_at: time.optional(),
  finished_at: time.optional(),
  progress: z.number().optional(),
  reason: z.string().optional().describe('why its last try failed'),
  result: z.unknown().optional(),
});
export type JobAnswer = z.output<typeof job>;
export const queueAnswer = queueFigure.extend({ jobs: z.array(job).optional() });
export const pausedAnswer = z.object({ name: z.enum(QUEUE_NAMES), paused: z.boolean() });
export const retriedAnswer = z.object({ name: z.enum(QUEUE_NAMES), retried: z.int() });
export const droppedAnswer = z.object({ name: z.enum(QUEUE_NAMES), dropped: z.int() });

const rounded = (value: number | null) => (value === null ? null : Math.round(value * 100) / 100);
const iso = (ms: number) => new Date(ms).toISOString();

function numbersAnswer({ priority, workers, perSecond, tries, firstBackoffMs }: QueueNumbers) {
  return { priority, workers, per_second: perSecond, tries, first_backoff_ms: firstBackoffMs };
}

export function answerOf(figure: QueueFigure): QueueAnswer {
  const { name, numbers, waiting, active, delayed, completed, failed, health, advice } = figure;
  return {
    name,
    ...numbersAnswer(numbers),
    waiting,
    active,
    delayed,
    completed,
    failed,
    paused: figure.isPaused,
    jobs_per_second: rounded(figure.jobsPerSecond)!,
    average_ms: rounded(figure.averageMs),
    success_percent: rounded(figure.successPercent),
    lag_ms: Math.round(figure.lagMs),
    health,
    advice,
  };
}

export function jobAnswer({
  id,
  state,
  payload,
  attempt,
  progress,
  reason,
  result,
  ...times
}: JobInfo): JobAnswer {
  return {
    id,
    state,
    payload,
    attempt,
    added_at: iso(times.addedAtMs),
    ...(times.dueAtMs !== undefined && { due_at: iso(times.dueAtMs) }),
    ...(times.finishedAtMs !== undefined && { finished_at: iso(times.finishedAtMs) }),
    ...(progress !== undefined && { progress }),
    ...(reason !== undefined && { reason }),
    ...(result !== undefined && { result }),
  };
}
