import { type Logger, pino } from 'pino';

/** Injection token of the program's logger. */
export const LOGGER = Symbol('LOGGER');

/** JSON lines on standard error, so that standard output carries only what the user asked to see. */
export function createLogger(level: string): Logger {
  return pino({ level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination(2));
}
