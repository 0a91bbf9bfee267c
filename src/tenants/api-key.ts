import { createHash, randomBytes, randomInt, randomUUID, timingSafeEqual } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { DataSource, EntityManager } from 'typeorm';
import type { Limit, LimitProfile, Permission } from '../edge/principal.js';

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const PREFIX_DIGITS = 12;
const SECRET_BYTES = 32;
/** 62^43 is just above 2^256, and 62^6 above 2^32. */
const SECRET_DIGITS = 43;
const CHECKSUM_DIGITS = 6;
const SHAPE = new RegExp(
  `^(tfk_[0-9A-Za-z]{${PREFIX_DIGITS}})_[0-9A-Za-z]{${SECRET_DIGITS}}([0-9A-Za-z]{${CHECKSUM_DIGITS}})$`,
);

/** Letters and digits only, so that a double click takes the whole of it. */
function base62(value: bigint, digits: number): string {
  let text = '';
  for (let rest = value; text.length < digits; rest /= 62n) text = DIGITS[Number(rest % 62n)] + text;
  return text;
}

const checksumOf = (text: string) => base62(BigInt(crc32(text)), CHECKSUM_DIGITS);

/** A new key's text, `tfk_<12 readable>_<256 random bits><checksum>`; the checksum lets scanners of leaked secrets be sure. */
export function makeKeyText(): { prefix: string; key: string } {
  const readable = Array.from({ length: PREFIX_DIGITS }, () => DIGITS[randomInt(DIGITS.length)]).join('');
  const prefix = `tfk_${readable}`;
  const secret = base62(BigInt(`0x${randomBytes(SECRET_BYTES).toString('hex')}`), SECRET_DIGITS);
  return { prefix, key: `${prefix}_${secret}${checksumOf(`${prefix}_${secret}`)}` };
}

/** The readable beginning of a key; undefined when the text is no key of ours: of another shape, or cut, or misspelt. */
export function prefixOf(credential: string): string | undefined {
  const [, prefix, checksum] = SHAPE.exec(credential) ?? [];
  return checksum === checksumOf(credential.slice(0, -CHECKSUM_DIGITS)) ? prefix : undefined;
}

/** What is kept of a key. No slow hash: nobody guesses 256 random bits. */
export function hashKey(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}

/** Whether two digests are the same, in a time that tells nothing of where they differ. */
export function sameDigest(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}

export interface NewApiKey {
  tenantId: string;
  name: string;
  permissions: readonly Permission[];
  /** Undefined or a missing profile: the program's settings. */
  limits?: Partial<Record<LimitProfile, Limit>>;
  expiresAt?: Date;
  /** Who made it: the id of a user or key, or `system`. */
  createdBy: string;
}

/**
 * Makes a key. Its text is in the result and nowhere else: it can be shown once.
 *
 * @throws QueryFailedError 23503 when there is no such tenant
 */
export async function createApiKey(
  manager: EntityManager | DataSource,
  { tenantId, name, permissions, limits, expiresAt, createdBy }: NewApiKey,
): Promise<{ id: string; prefix: string; key: string }> {
  const id = randomUUID();
  const { prefix, key } = makeKeyText();
  await manager.query(
    `INSERT INTO api_keys (id, tenant_id, name, prefix, key_hash, permissions, limits, expires_at, created_by)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    [
      id,
      tenantId,
      name,
      prefix,
      hashKey(key),
      [...new Set(permissions)],
      limits ? JSON.stringify(storedLimits(limits)) : null,
      expiresAt ?? null,
      createdBy,
    ],
  );
  return { id, prefix, key };
}

/** A key's limits as `api_keys.limits` holds them. */
export function storedLimits(limits: Partial<Record<LimitProfile, Limit>>): StoredLimits {
  return Object.fromEntries(
    Object.entries(limits).map(([profile, { limit, ttlMs }]) => [profile, { limit, ttl_ms: ttlMs }]),
  );
}

export type StoredLimits = Partial<Record<LimitProfile, { limit: number; ttl_ms: number }>>;
