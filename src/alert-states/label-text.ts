import { createHash } from 'node:crypto';

const MAX_LABEL = 1000;
const DIGEST_LENGTH = 8;
/** Of an entry in an index of PostgreSQL, 2,704 bytes at most, with room for what is beside it. */
const MAX_INDEXED_BYTES = 1000;

const digestOf = (text: string) => createHash('sha256').update(text).digest('hex');

/** The beginning of a text; a character that takes two places is not cut in two, since PostgreSQL takes no half of one. */
export const cut = (text: string, max: number): string =>
  text.length <= max ? text : text.slice(0, max).replace(/[\uD800-\uDBFF]$/, '');

/**
 * The value of a label as it can be kept and told: PostgreSQL keeps no NUL, and a message has no room for a whole stack trace. What
 * is changed ends in a digest of all of it, so that different values stay different.
 */
export function labelText(value: string): string {
  if (value.length <= MAX_LABEL && !value.includes('\0')) return value;
  const end = `… #${digestOf(value).slice(0, DIGEST_LENGTH)}`;
  return `${cut(value.replaceAll('\0', '\uFFFD'), MAX_LABEL - end.length)}${end}`;
}

/** The key of a group as a unique index can hold it, however long its labels are. */
export const indexedKey = (key: string): string =>
  Buffer.byteLength(key) <= MAX_INDEXED_BYTES ? key : `sha256:${digestOf(key)}`;
