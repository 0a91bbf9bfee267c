import { RedisAway } from '../connections/redis.js';
import { AppError } from '../errors.js';

/** What a client is told: every fault of Redis passes, so it is never one after which a client gives up. */
export function asAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const { message } = error as Error;
  if (error instanceof RedisAway) return new AppError('UNAVAILABLE', message, { cause: error });
  if (message.startsWith('OOM'))
    return new AppError('BACKLOG_FULL', 'Redis has no memory left', { cause: error });
  // It could not write its append-only file or snapshot, and takes no writes until it can.
  if (message.startsWith('MISCONF'))
    return new AppError('DISK_FULL', 'Redis cannot write its disk', { cause: error });
  return new AppError('UNAVAILABLE', `Redis refused: ${message}`, { cause: error });
}
