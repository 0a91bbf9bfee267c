import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { AppError, type ErrorCode } from '../errors.js';
import type { EventStream } from '../http/event-stream.js';
import type { Tailed } from '../store/log-tail.js';
import type { OpenTail } from './log-tails.js';

const POLL_MS = 1000;
const BEAT_MS = 15_000;
/** The store is asked again later, the caller sees nothing of it but that nothing comes. */
const PASSING: readonly ErrorCode[] = ['UNAVAILABLE', 'RATE_LIMITED'];
const AFTER_FAILURE_MS = 3000;

/**
 * Sends what comes until the caller goes away, the signal fires, `assertAllowed` refuses, or the store does; the last three are told in an
 * event `end`.
 *
 * @param stopping its reason is an AppError
 * @param assertAllowed asked before every look at the store
 */
export async function followTail(
  open: OpenTail,
  stream: EventStream,
  stopping: AbortSignal,
  assertAllowed: () => Promise<void>,
  log: Pick<Logger, 'error'>,
): Promise<void> {
  const signal = AbortSignal.any([stream.signal, stopping]);
  try {
    while (!signal.aborted) {
      await assertAllowed();
      const tailed = await look(open, signal);
      if (tailed) deliver(open, tailed, stream);
      stream.beat(BEAT_MS);
      await stream.drained(signal);
      if (!tailed?.more) await sleep(tailed ? POLL_MS : AFTER_FAILURE_MS, undefined, { signal });
    }
  } catch (error) {
    if (!signal.aborted) {
      if (!(error instanceof AppError)) log.error({ err: error }, 'A tail of the log failed.');
      end(stream, error);
    }
  }
  if (stopping.aborted) end(stream, stopping.reason);
}

/** @returns undefined when the store is not to be had just now */
async function look({ tail }: OpenTail, signal: AbortSignal): Promise<Tailed | undefined> {
  try {
    return await tail.poll(Date.now(), signal);
  } catch (error) {
    if (error instanceof AppError && PASSING.includes(error.code)) return undefined;
    throw error;
  }
}

function deliver({ id }: OpenTail, { records, gaps }: Tailed, stream: EventStream): void {
  for (const gap of gaps) stream.send('gap', gap);
  for (const { sequence, timeNs, record } of records)
    stream.send(undefined, record, `${id}.${sequence}.${timeNs}`);
}

function end(stream: EventStream, error: unknown): void {
  const { code, message } = error instanceof AppError ? error : new AppError('INTERNAL', 'The tail failed.');
  stream.send('end', { code, message });
}
