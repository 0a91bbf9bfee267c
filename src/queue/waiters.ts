import type { Signal } from '../signal.js';
import type { TakeLimits } from './ingest-queue.js';
import { isFull, type Lane } from './lanes.js';

interface Waiter {
  signal: Signal;
  limits: TakeLimits;
  /** When it looks again by itself, monotonic clock. */
  dueAtMs: number;
  timer: NodeJS.Timeout | undefined;
  wake: () => void;
}

const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Callers of `take` that found nothing due. An added entry costs one comparison for each of its signal. */
export class Waiters {
  private readonly waiting = new Set<Waiter>();

  /** Resolves when there may be something to take: at `dueAtMs`, on news, or when `abort` fires. */
  wait(signal: Signal, limits: TakeLimits, dueAtMs: number, abort: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const waiter: Waiter = { signal, limits, dueAtMs: Number.POSITIVE_INFINITY, timer: undefined, wake };
      const waiting = this.waiting;
      function wake(): void {
        clearTimeout(waiter.timer);
        waiting.delete(waiter);
        abort.removeEventListener('abort', wake);
        resolve();
      }
      waiting.add(waiter);
      abort.addEventListener('abort', wake);
      lookAgain(waiter, dueAtMs);
      if (abort.aborted) wake();
    });
  }

  /** A lane has a new last entry, queued at `queuedAtMs`. */
  added(signal: Signal, lane: Lane, queuedAtMs: number): void {
    for (const waiter of this.waiting) {
      if (waiter.signal !== signal) continue;
      if (isFull(lane, waiter.limits)) waiter.wake();
      else lookAgain(waiter, queuedAtMs + waiter.limits.maxAgeMs);
    }
  }

  /** A planned batch of the signal becomes due. */
  ready(signal: Signal, dueAtMs: number): void {
    for (const waiter of this.waiting) if (waiter.signal === signal) lookAgain(waiter, dueAtMs);
  }

  wakeAll(): void {
    for (const waiter of this.waiting) waiter.wake();
  }
}

function lookAgain(waiter: Waiter, dueAtMs: number): void {
  if (dueAtMs >= waiter.dueAtMs) return;
  const delayMs = Math.ceil(dueAtMs - performance.now());
  if (delayMs <= 0) {
    waiter.wake();
    return;
  }
  waiter.dueAtMs = dueAtMs;
  clearTimeout(waiter.timer);
  waiter.timer = setTimeout(waiter.wake, Math.min(delayMs, MAX_TIMEOUT_MS));
}
