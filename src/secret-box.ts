import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Config } from './config.js';
import { keptSecret } from './kept-secret.js';

const CIPHER = 'aes-256-gcm';
const KEY_BYTES = 32;
const KEY_ID_BYTES = 8;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Text that only the holder of a key can read, and which key that is. */
export interface Sealed {
  keyId: string;
  bytes: Buffer;
}

/** What was sealed with a key that this process does not have, or was tampered with. */
export class UnreadableSecretError extends Error {
  override readonly name = 'UnreadableSecretError';
}

/** Encrypts secrets that have to be read again: AES-256-GCM under keys derived from SECRET_KEY. */
export class SecretBox {
  private readonly keys: ReadonlyMap<string, Uint8Array>;
  /** Of the key that seals from now on. */
  readonly keyId: string;

  /** @param previous opens what it sealed, and seals nothing */
  constructor(current: Uint8Array, previous?: Uint8Array) {
    this.keyId = keyIdOf(current);
    this.keys = new Map(
      [previous, current]
        .filter((secret) => secret !== undefined)
        .map((secret) => [keyIdOf(secret), keyOf(secret)]),
    );
  }

  /** @param owner whose it is: what is sealed for one does not open for another */
  seal(text: string, owner: string): Sealed {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, this.keys.get(this.keyId)!, nonce).setAAD(Buffer.from(owner));
    const hidden = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    return { keyId: this.keyId, bytes: Buffer.concat([nonce, cipher.getAuthTag(), hidden]) };
  }

  canOpen(keyId: string): boolean {
    return this.keys.has(keyId);
  }

  /** @throws UnreadableSecretError */
  open({ keyId, bytes }: Sealed, owner: string): string {
    const key = this.keys.get(keyId);
    if (!key)
      throw new UnreadableSecretError(
        `It was encrypted under another SECRET_KEY (key ${keyId}, here is ${this.keyId}): set the same one in every process, or the one before as SECRET_KEY_PREVIOUS.`,
      );
    try {
      const nonce = bytes.subarray(0, NONCE_BYTES);
      const tag = bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES);
      const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
      decipher.setAAD(Buffer.from(owner)).setAuthTag(tag);
      const text = decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES));
      return Buffer.concat([text, decipher.final()]).toString('utf8');
    } catch {
      throw new UnreadableSecretError('It is damaged.');
    }
  }
}

const derived = (secret: Uint8Array, purpose: string, length: number) =>
  new Uint8Array(hkdfSync('sha256', secret, '', `telemetryflow secrets, ${purpose}`, length));
const keyOf = (secret: Uint8Array) => derived(secret, 'key', KEY_BYTES);
const keyIdOf = (secret: Uint8Array) => Buffer.from(derived(secret, 'key id', KEY_ID_BYTES)).toString('hex');

/**
 * The box of the settings: under SECRET_KEY, or under 32 random bytes that the first start makes and keeps in DATA_DIR,
 * readable by this user alone. Processes that share a database need the same key.
 *
 * @throws StartupError when the kept one cannot be read, written or is too short
 */
export function secretBoxOf(
  config: Pick<Config, 'SECRET_KEY' | 'SECRET_KEY_PREVIOUS' | 'DATA_DIR'>,
): SecretBox {
  const { SECRET_KEY: given, SECRET_KEY_PREVIOUS: previous } = config;
  const current =
    given === undefined
      ? keptSecret(
          join(config.DATA_DIR, 'secret-key'),
          'Put it back from a backup; without it the secrets of notification channels must be given again.',
        )
      : Buffer.from(given);
  return new SecretBox(current, previous === undefined ? undefined : Buffer.from(previous));
}
