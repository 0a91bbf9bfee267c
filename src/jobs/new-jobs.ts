import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { AppError, PermanentError } from '../errors.js';
import type { JobQueue, NewJob } from './job-queue.js';

const ID = /^[A-Za-z0-9_.-]{1,128}$/;
const MAX_DELAY_MS = 365 * 86_400_000;
/** Of one job, beside its queue's; the settings of the queues allow less. */
const MAX_PRIORITY = 1_000_000;

/** A job that may be added: its id is given, its payload is what the schema made of it. */
export interface CheckedJob {
  id: string;
  /** Whether who adds it named it: only then may it be there already. */
  isNamed: boolean;
  payload: unknown;
  delayMs: number;
  /** Undefined: its queue's. */
  priority: number | undefined;
}

const isWhole = (value: number, min: number, max: number) =>
  Number.isInteger(value) && value >= min && value <= max;

/** @throws AppError INVALID_ARGUMENT: the name of a job or of a repetition has other characters than are allowed */
export function checkName(name: string, what: 'id' | 'key'): void {
  if (ID.test(name)) return;
  throw new AppError(
    'INVALID_ARGUMENT',
    `${what} ${JSON.stringify(name.slice(0, 200))}: expected 1 to 128 of A-Z a-z 0-9 _ . -`,
    { details: { field: what } },
  );
}

/** @throws AppError INVALID_ARGUMENT saying which field of the payload is wrong */
export function checkPayload<P>(queue: JobQueue<P>, payload: unknown): P {
  const parsed = queue.payload.safeParse(payload);
  if (parsed.success) return parsed.data;
  throw new AppError('INVALID_ARGUMENT', `payload of ${queue.name}: ${z.prettifyError(parsed.error)}`, {
    details: parsed.error.issues,
  });
}

/** The payload of a job that was added before, perhaps by another version. @throws PermanentError */
export function readPayload<P>(queue: JobQueue<P>, payload: unknown): P {
  const parsed = queue.payload.safeParse(payload);
  if (parsed.success) return parsed.data;
  throw new PermanentError(`The payload is not one of ${queue.name}: ${z.prettifyError(parsed.error)}`);
}

/**
 * Checks all jobs before any of them is added.
 *
 * @throws AppError INVALID_ARGUMENT
 */
export function checkJobs<P>(queue: JobQueue<P>, jobs: readonly NewJob<P>[]): CheckedJob[] {
  return jobs.map(({ id: named, payload, delayMs = 0, priority }) => {
    const id = named ?? randomUUID();
    checkName(id, 'id');
    if (!isWhole(delayMs, 0, MAX_DELAY_MS))
      throw new AppError(
        'INVALID_ARGUMENT',
        `delayMs ${delayMs}: expected whole milliseconds, a year at most`,
      );
    if (priority !== undefined && !isWhole(priority, 1, MAX_PRIORITY))
      throw new AppError('INVALID_ARGUMENT', `priority ${priority}: expected a whole number from 1 on`);
    return { id, isNamed: named !== undefined, payload: checkPayload(queue, payload), delayMs, priority };
  });
}

/** What a handler threw, as an error with a message. */
export function asError(thrown: unknown): Error {
  if (thrown instanceof Error && thrown.message !== '') return thrown;
  if (thrown instanceof Error) return new Error(thrown.name, { cause: thrown });
  const text = typeof thrown === 'string' ? thrown : JSON.stringify(thrown);
  return new Error(text || `${text} was thrown`);
}
