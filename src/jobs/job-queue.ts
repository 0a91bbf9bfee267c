import type { z } from 'zod';
import type { QueueName } from '../queue-numbers.js';

/** Injection token of the job queues. */
export const JOB_QUEUES = Symbol('JOB_QUEUES');

/** A queue for jobs of one kind, declared once, in `declared.ts`. */
export interface JobQueue<P = unknown> {
  readonly name: QueueName;
  /** What a job says. Checked when it is added and again when it is worked off: another version may have added it. */
  readonly payload: z.ZodType<P>;
  /**
   * What one of its jobs leaves undone the next one does: a job whose process ended while it ran is failed at once, so that it ends one
   * process and not two. Jobs of other queues are tried once more, alone.
   */
  readonly isRedone?: boolean;
}

/** Why such a job has failed. */
export const NOT_TRIED_AGAIN = 'The process ended while it ran; the next one of its kind does its work';

export interface AddOptions {
  /**
   * A job with an id is added once: while one of that id is there, waiting, running, done or failed and still kept, adding it
   * again changes nothing. Letters, digits, `-`, `_` and `.`, 128 at most. Without one, each job gets its own.
   */
  id?: string;
  /** Not before so many milliseconds. */
  delayMs?: number;
  /** Instead of the queue's; a lower number goes first. */
  priority?: number;
}

export interface NewJob<P> extends AddOptions {
  payload: P;
}

/** `isNew: false`: a job of that id is there already. */
export interface Added {
  id: string;
  isNew: boolean;
}

/** A job in the hands of its handler. */
export interface RunningJob<P> {
  readonly id: string;
  readonly payload: P;
  /** 1 for the first try. */
  readonly attempt: number;
  readonly addedAtMs: number;
  /** The point in time that a repeated job is for; undefined for other jobs. */
  readonly tickMs: number | undefined;
  /** Fires when the process stops and will not wait much longer, or when the job is no longer this worker's. */
  readonly signal: AbortSignal;
  /** How far it is, 0 to 1; seen by `jobs`. */
  progress(share: number): Promise<void>;
}

/**
 * Works a job off. What it returns is kept with the done job, as JSON. Throwing means another try after a pause, and the failed set after
 * the last one; a PermanentError means the failed set at once. It may run twice for one job: a process can end after the
 * work and before that is noted.
 */
export type JobHandler<P> = (job: RunningJob<P>) => Promise<unknown>;

export type JobState = 'waiting' | 'delayed' | 'active' | 'completed' | 'failed';

/** A job as it is looked at. */
export interface JobInfo {
  id: string;
  state: JobState;
  payload: unknown;
  attempt: number;
  priority: number;
  addedAtMs: number;
  /** When it is due, for a delayed one. */
  dueAtMs?: number;
  finishedAtMs?: number;
  progress?: number;
  /** Why its last try failed. */
  reason?: string;
  /** What its handler returned. */
  result?: unknown;
}

/** What says whether a queue keeps up. */
export interface JobQueueLag {
  /** Age of the oldest job that could run and does not, ms; 0 when none waits. */
  lagMs: number;
  isPaused: boolean;
}

export interface JobQueueStats extends JobQueueLag {
  queue: QueueName;
  waiting: number;
  active: number;
  delayed: number;
  /** Since the queue was made, kept or not. */
  completed: number;
  /** In the failed set. */
  failed: number;
  /** Tries that threw since the queue was made. */
  failures: number;
  /** Time that handlers took for all completed jobs, ms; with `completed` the average. */
  busyMs: number;
  /** Jobs at once, of this process; 0 when it does no work. */
  workers: number;
}

/** A job that comes again by a cron line. */
export interface Repeat {
  /** Which repetition it is, in its queue: scheduling it again under the same key replaces it. */
  key: string;
  /** Five or six fields (seconds first), in UTC. */
  cron: string;
  payload: unknown;
}

/** The queues for background work, all but the ingestion's: that one is `queue/ingest-queue.ts`, because it carries bytes. */
export interface JobQueues {
  /**
   * Resolves when the jobs are as durable as the driver makes them (disk: synced; Redis: in Redis).
   *
   * @throws AppError INVALID_ARGUMENT for a payload that is not the queue's, UNAVAILABLE when Redis is away or the disk is full
   */
  addAll<P>(queue: JobQueue<P>, jobs: readonly NewJob<P>[]): Promise<Added[]>;
  /**
   * From now on one job at each tick of the cron line, however many processes schedule it and whichever of them runs. A tick that
   * passed while none ran is made up for once, by the last one missed; a repeated job's id is `key:tick`.
   *
   * @throws AppError INVALID_ARGUMENT for a bad cron line, naming what is wrong
   */
  repeat<P>(queue: JobQueue<P>, repeat: Repeat & { payload: P }): Promise<void>;
  /** No more of them; what was added already stays. Returns whether there was one. */
  stopRepeating(queue: JobQueue, key: string): Promise<boolean>;
  repeats(queue: JobQueue): Promise<Repeat[]>;

  /** Nobody takes a job of it until `resume`, in any process; jobs are added all the same. Survives restarts. */
  pause(queue: QueueName): Promise<void>;
  resume(queue: QueueName): Promise<void>;
  /** Puts failed jobs (all, or those ids) back, with all their tries; returns how many. */
  retryFailed(queue: QueueName, ids?: readonly string[]): Promise<number>;
  /** Jobs of a state: the newest first for completed and failed ones, the next first for the others. */
  list(queue: QueueName, state: JobState, range: { offset: number; limit: number }): Promise<JobInfo[]>;
  /** The job of that id, if it is still kept. */
  find(queue: QueueName, id: string): Promise<JobInfo | undefined>;
  /** Takes a job away that does not run; returns whether there was one. */
  remove(queue: QueueName, id: string): Promise<boolean>;
  stats(queue: QueueName): Promise<JobQueueStats>;
  /** Of `stats` what can be asked each second at little cost. */
  lag(queue: QueueName): Promise<JobQueueLag>;

  /** Begins to work a queue off in this process. Once for each queue. */
  work<P>(queue: JobQueue<P>, handler: JobHandler<P>): void;
  /** How many jobs at once in this process, from now on. */
  setWorkers(queue: QueueName, workers: number): void;
  /** Begins to add repeated jobs as their ticks come. */
  schedule(): void;
  /**
   * Takes no more jobs and waits for those in hand, `graceMs` at most; then their signals fire, and what still runs is given back to be
   * tried again. Everything acknowledged is durable when it resolves.
   */
  close(graceMs: number): Promise<void>;
}
