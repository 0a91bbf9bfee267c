import type { QueueName } from '../queue-numbers.js';
import type { TickRange } from './fired-ticks.js';
import type { Job } from './job.js';

/**
 * What the disk driver writes into its journal: records that are JSON arrays of events, in the order in which they
 * happened. An event says what is so afterwards, never by how much something changed, because a record whose write
 * failed may be found twice. An event's meaning never changes: a new meaning is a new name, and a program that does not
 * know one keeps the segment that holds it.
 */
export const EVENTS = 1;

/** Of the repetition that a job was added for. */
export type FiredBy = [key: string, previousTickMs: number];

export type JobEvent =
  | [
      'add',
      number: number,
      queue: QueueName,
      id: string,
      priority: number,
      addedAtMs: number,
      dueAtMs: number,
      text: string,
      tickMs?: number,
      firedBy?: FiredBy,
    ]
  | ['done', number: number, atMs: number, busyMs: number, progress: number | null, result: string | null]
  /** A try threw, there will be another. */
  | ['retry', number: number, attempts: number, dueAtMs: number, reason: string]
  /** Into the failed set; `threw`: because a try did. */
  | ['fail', number: number, attempts: number, atMs: number, reason: string, threw: boolean]
  /** Out of the failed set, to run again. */
  | ['back', numbers: number[]]
  /** Taken away, or refused although its bytes may be found. */
  | ['gone', numbers: number[]]
  | ['pause', queue: QueueName, isPaused: boolean]
  | ['repeat', queue: QueueName, key: string, cron: string, text: string, fired: TickRange[]]
  | ['unrepeat', queue: QueueName, key: string]
  /** The process of that epoch died while these ran. */
  | ['died', epoch: number, numbers: number[]]
  /** A snapshot begins: from here on everything that counts is said again, until `end`. */
  | ['begin', lastNumber: number]
  | [
      'job',
      number: number,
      queue: QueueName,
      id: string,
      priority: number,
      addedAtMs: number,
      dueAtMs: number,
      text: string,
      tickMs: number | null,
      state: 'open' | 'completed' | 'failed',
      attempts: number,
      deaths: number,
      finishedAtMs: number,
      progress: number | null,
      reason: string | null,
      result: string | null,
    ]
  | ['queue', queue: QueueName, isPaused: boolean, completed: number, failures: number, busyMs: number]
  /** The snapshot is whole: what was said before it began and not since does not count. */
  | ['end', lastNumber: number];

export function addEvent(job: Job, firedBy?: FiredBy): JobEvent {
  const { number, queue, id, priority, addedAtMs, dueAtMs, text, tickMs } = job;
  if (tickMs === undefined) return ['add', number, queue, id, priority, addedAtMs, dueAtMs, text];
  return ['add', number, queue, id, priority, addedAtMs, dueAtMs, text, tickMs, firedBy];
}

/** All of a job, for a snapshot. One that runs is open: when the process ends it will run again. */
export function jobEvent(job: Job): JobEvent {
  const { number, queue, id, priority, addedAtMs, dueAtMs, text } = job;
  return [
    'job',
    number,
    queue,
    id,
    priority,
    addedAtMs,
    dueAtMs,
    text,
    job.tickMs ?? null,
    job.state === 'completed' || job.state === 'failed' ? job.state : 'open',
    job.attempts,
    job.deaths,
    job.finishedAtMs,
    job.progress ?? null,
    job.reason ?? null,
    job.result ?? null,
  ];
}

export function encodeEvents(events: readonly string[]): Buffer {
  return Buffer.from(`[${events.join(',')}]`);
}

/** @throws when the payload is not a list */
export function decodeEvents(payload: Buffer): JobEvent[] {
  const events: unknown = JSON.parse(payload.toString('utf8'));
  if (!Array.isArray(events)) throw new TypeError('Not a list of events');
  return events as JobEvent[];
}
