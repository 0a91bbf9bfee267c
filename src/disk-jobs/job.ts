import type { JobState } from '../jobs/job-queue.js';
import type { QueueName } from '../queue-numbers.js';

/** A job as the disk driver holds it in memory. Times in ms. */
export interface Job {
  /** Given once in the life of a directory: the journal's records name a job by it, because ids come again. */
  readonly number: number;
  readonly queue: QueueName;
  readonly id: string;
  /** Its payload as JSON: parsed when it is worked off, so that a long backlog is one string for each job. */
  readonly text: string;
  readonly priority: number;
  readonly addedAtMs: number;
  /** The point in time a repeated job is for. */
  readonly tickMs: number | undefined;
  /** `gone` is said to structures that still hold it. */
  state: JobState | 'gone';
  /** Tries that threw since it was added or put back. */
  attempts: number;
  /** How often in a row the process died while it ran. */
  deaths: number;
  /** Wall clock, of a delayed one; 0 for others. */
  dueAtMs: number;
  /** Monotonic: since when it is in its state; of a delayed one, when it is due. */
  sinceMs: number;
  finishedAtMs: number;
  progress: number | undefined;
  reason: string | undefined;
  /** What its handler returned, as JSON. */
  result: string | undefined;
}

/** The two clocks. Only the wall's readings outlive a process, and only the monotonic one never jumps. */
export interface JobClock {
  wallMs(): number;
  monotonicMs(): number;
}

export const systemClock: JobClock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};

type JobStart = Pick<
  Job,
  'number' | 'queue' | 'id' | 'text' | 'priority' | 'addedAtMs' | 'tickMs' | 'dueAtMs'
>;

/** Every job is made here, so that all have one shape: a million of them take half the memory then. */
export function newJob(start: JobStart): Job {
  return {
    number: start.number,
    queue: start.queue,
    id: start.id,
    text: start.text,
    priority: start.priority,
    addedAtMs: start.addedAtMs,
    tickMs: start.tickMs,
    state: start.dueAtMs > 0 ? 'delayed' : 'waiting',
    attempts: 0,
    deaths: 0,
    dueAtMs: start.dueAtMs,
    sinceMs: 0,
    finishedAtMs: 0,
    progress: undefined,
    reason: undefined,
    result: undefined,
  };
}

const ENVELOPE_BYTES = 80;

/** About how many bytes of the journal the job is worth. */
export function weightOf(job: Job): number {
  return (
    ENVELOPE_BYTES + job.id.length + job.text.length + (job.reason?.length ?? 0) + (job.result?.length ?? 0)
  );
}
