import argon2 from 'argon2';
import { AppError } from '../errors.js';

const MIN_CHARACTERS = 12;
/** Long enough for any pass phrase; without an end a login could be made to hash megabytes. */
const MAX_CHARACTERS = 1024;
/** OWASP's recommendation for Argon2id: 19 MiB, 2 passes, 1 lane. */
const ARGON2 = { type: argon2.argon2id, memoryCost: 19 * 1024, timeCost: 2, parallelism: 1 } as const;
/** Each takes a thread of the pool, which the journal's fdatasync needs too, for tens of milliseconds. */
const MAX_AT_ONCE = 2;
const MAX_WAITING = 64;

let running = 0;
const waiting: (() => void)[] = [];

/** @throws AppError UNAVAILABLE when so many wait already that this one would take seconds */
async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (running < MAX_AT_ONCE) running++;
  else {
    if (waiting.length >= MAX_WAITING)
      throw new AppError('UNAVAILABLE', 'Too many logins at once; try again.');
    // Whoever is done hands its place on, so that nobody slips in between.
    await new Promise<void>((resolve) => waiting.push(resolve));
  }
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else running--;
  }
}

/** The same text, typed on another keyboard, may come in other code points. */
const normal = (password: string) => password.normalize('NFKC');

/**
 * Argon2id in the PHC string format, with a salt of its own.
 *
 * @throws AppError UNAVAILABLE when too many are being hashed already
 */
export function hashPassword(password: string): Promise<string> {
  return inTurn(() => argon2.hash(normal(password), ARGON2));
}

/**
 * Whether a password is the one of this hash. Takes as long either way; at most two run at once, in order.
 *
 * @throws AppError UNAVAILABLE when too many are waiting already
 */
export function verifyPassword(hash: string, password: string): Promise<boolean> {
  return inTurn(() => argon2.verify(hash, normal(password)));
}

/**
 * @param field its name in the request, for the error's details
 * @throws AppError INVALID_ARGUMENT when it is shorter than 12 or longer than 1024 characters; never with the password in it
 */
export function assertPassword(password: string, field = 'password'): void {
  if (password.length >= MIN_CHARACTERS && password.length <= MAX_CHARACTERS) return;
  const allowed = `${MIN_CHARACTERS} to ${MAX_CHARACTERS} characters`;
  throw new AppError('INVALID_ARGUMENT', `${field} must have ${allowed}.`, {
    details: [{ field, given: `${password.length} characters`, allowed }],
  });
}
