import type { JobQueueStats, JobQueues } from '../jobs/job-queue.js';
import type { IngestQueue } from '../queue/ingest-queue.js';
import { type AllQueueNumbers, QUEUE_NAMES, type QueueName, type QueueNumbers } from '../queue-numbers.js';

/** Rates are of the last minute, from looks at counters that all processes share. */
const WINDOW_MS = 60_000;
const LOOK_MS = 5_000;

/** Over these a queue needs more workers, or somebody who looks at it. */
const MAX_LAG_MS = 1_000;
const MAX_FAILED_SHARE = 0.1;
const AT_THE_LIMIT = 0.9;

/** What a queue has done since it was made, and what it holds. */
export type QueueState = Omit<JobQueueStats, 'queue' | 'workers'>;

export interface QueueRates {
  jobsPerSecond: number;
  /** Null where nothing was done. */
  averageMs: number | null;
  successPercent: number | null;
}

export type QueueHealth = 'ok' | 'paused' | 'scale_up' | 'alert';

export interface QueueFigure extends QueueState, QueueRates {
  name: QueueName;
  numbers: QueueNumbers;
  health: QueueHealth;
  /** Why it is not `ok`. */
  advice: string[];
}

interface Look extends Pick<QueueState, 'completed' | 'failures' | 'busyMs'> {
  atMs: number;
}

/** What happened between two looks at a queue's counters. A counter that went back was lost with its Redis: nothing is known then. */
export function ratesBetween(first: Look, last: Look): QueueRates {
  const done = Math.max(0, last.completed - first.completed);
  const failures = Math.max(0, last.failures - first.failures);
  const seconds = (last.atMs - first.atMs) / 1000;
  const tries = done + failures;
  return {
    jobsPerSecond: seconds > 0 ? done / seconds : 0,
    averageMs: done > 0 ? Math.max(0, last.busyMs - first.busyMs) / done : null,
    successPercent: tries > 0 ? (100 * done) / tries : null,
  };
}

/** The rules of health: failures are told before lag, because more workers do not help against them. */
export function healthOf(
  state: Pick<QueueState, 'lagMs' | 'isPaused'>,
  { successPercent, jobsPerSecond }: Pick<QueueRates, 'successPercent' | 'jobsPerSecond'>,
  { perSecond }: Pick<QueueNumbers, 'perSecond'>,
): { health: QueueHealth; advice: string[] } {
  const advice: string[] = [];
  if (state.isPaused) advice.push('It is paused: nothing is worked off until it is resumed.');
  const isFailing = successPercent !== null && successPercent < 100 * (1 - MAX_FAILED_SHARE);
  if (isFailing)
    advice.push(
      `${(100 - successPercent).toFixed(0)} % of the tries of the last minute failed: look at them.`,
    );
  const isLate = !state.isPaused && state.lagMs > MAX_LAG_MS;
  // Rates are of a minute, and so a little behind.
  const isHeld = jobsPerSecond >= perSecond * AT_THE_LIMIT;
  const need = isHeld
    ? `${perSecond} a second are started, as its setting says: a larger per_second is needed, and not more workers.`
    : 'more workers are needed.';
  if (isLate) advice.push(`The oldest job has waited for ${Math.round(state.lagMs)} ms: ${need}`);
  const health = isFailing ? 'alert' : state.isPaused ? 'paused' : isLate ? 'scale_up' : 'ok';
  return { health, advice };
}

/** Looks at all queues now and then, so that it can say how fast they are. */
export class QueueFigures {
  private readonly looks = new Map<QueueName, Look[]>();
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly jobs: Pick<JobQueues, 'stats'>,
    private readonly ingest: Pick<IngestQueue, 'stats'>,
    private readonly numbers: AllQueueNumbers,
    private readonly nowMs: () => number = Date.now,
  ) {}

  start(): void {
    this.timer ??= setInterval(() => void this.lookAtAll(), LOOK_MS).unref();
    void this.lookAtAll();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** @throws AppError UNAVAILABLE when Redis is away */
  readAll(): Promise<QueueFigure[]> {
    return Promise.all(QUEUE_NAMES.map((name) => this.read(name)));
  }

  /** @throws AppError UNAVAILABLE when Redis is away */
  async read(name: QueueName): Promise<QueueFigure> {
    const state = await this.stateOf(name);
    const now = { ...state, atMs: this.nowMs() };
    const rates = ratesBetween(this.looks.get(name)?.[0] ?? now, now);
    return {
      ...state,
      ...rates,
      ...healthOf(state, rates, this.numbers[name]),
      name,
      numbers: this.numbers[name],
    };
  }

  private async stateOf(name: QueueName): Promise<QueueState> {
    if (name !== 'otlp-ingestion') return this.jobs.stats(name);
    const { work, waitingEntries, failedEntries, oldestWaitingMs, isPaused } = await this.ingest.stats();
    return { ...work, waiting: waitingEntries, failed: failedEntries, lagMs: oldestWaitingMs, isPaused };
  }

  private async lookAtAll(): Promise<void> {
    await Promise.all(QUEUE_NAMES.map((name) => this.look(name).catch(() => undefined)));
  }

  private async look(name: QueueName): Promise<void> {
    const { completed, failures, busyMs } = await this.stateOf(name);
    const atMs = this.nowMs();
    const kept = (this.looks.get(name) ?? []).filter((look) => look.atMs >= atMs - WINDOW_MS);
    this.looks.set(name, [...kept, { atMs, completed, failures, busyMs }]);
  }
}
