import { type Logger, pino, stdSerializers } from 'pino';

/** Injection token of the program's logger. */
export const LOGGER = Symbol('LOGGER');

/** Of a statement that failed, where the database says it with its values: these are somebody's, and no business of a log's. */
const VALUES = ['parameters', 'driverError', 'detail', 'where'];

/** How things are written into the log, by their name there. */
export const SERIALIZERS = {
  err: (error: unknown) => {
    const shown: unknown = stdSerializers.err(error as Error);
    if (typeof shown !== 'object' || shown === null) return shown;
    return Object.fromEntries(Object.entries(shown).filter(([name]) => !VALUES.includes(name)));
  },
};

/** JSON lines on standard error, so that standard output carries only what the user asked to see. */
export function createLogger(level: string): Logger {
  const options = { level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime };
  return pino({ ...options, serializers: SERIALIZERS }, pino.destination(2));
}
