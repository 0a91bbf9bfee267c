import { randomBytes } from 'node:crypto';
import { chmodSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { StartupError } from './errors.js';

const SECRET_BYTES = 32;

/**
 * 32 random bytes that the first start makes and keeps in a file readable by this user alone.
 *
 * @param remedy what to do when the file is damaged
 * @throws StartupError when it cannot be read, written or is too short
 */
export function keptSecret(file: string, remedy: string): Uint8Array {
  try {
    const kept = readSecret(file) ?? makeSecret(file);
    if (kept.length >= SECRET_BYTES) return kept;
  } catch (error) {
    throw new StartupError(`${file} cannot be used: ${(error as Error).message}`);
  }
  throw new StartupError(`${file} is damaged. ${remedy}`);
}

function readSecret(file: string): Buffer | undefined {
  try {
    const secret = Buffer.from(readFileSync(file, 'utf8').trim(), 'hex');
    chmodSync(file, 0o600);
    return secret;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function makeSecret(file: string): Buffer {
  const secret = randomBytes(SECRET_BYTES);
  // Under another name first: a start that is killed here leaves no half of a secret.
  const draft = `${file}.new`;
  writeFileSync(draft, `${secret.toString('hex')}\n`, { mode: 0o600, flush: true });
  chmodSync(draft, 0o600);
  renameSync(draft, file);
  return secret;
}
