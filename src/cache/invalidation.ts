import type { CacheKey } from './cache-key.js';

/** How many leading parts of a key can be dropped together by one command. */
export const MAX_GROUP_PARTS = 3;

/** What is no longer true: one key, all keys that a pattern means, or everything. */
export type Invalidation =
  | { readonly kind: 'key'; readonly key: CacheKey }
  | { readonly kind: 'pattern'; readonly pattern: string }
  | { readonly kind: 'all' };

/** Says of a key whether it is meant; made once for many keys. */
export function whatIsMeant(invalidation: Invalidation): (key: CacheKey) => boolean {
  if (invalidation.kind === 'all') return () => true;
  if (invalidation.kind === 'key') return (key) => key === invalidation.key;
  const { pattern } = invalidation;
  const group = groupMeant(pattern);
  if (group === undefined) return (key) => matchesPattern(pattern, key);
  return (key) => key.startsWith(group) || (key.length + 1 === group.length && group.startsWith(key));
}

/** As one line, the same for the same. */
export function writeInvalidation(invalidation: Invalidation): string {
  if (invalidation.kind === 'key') return `key ${invalidation.key}`;
  return invalidation.kind === 'all' ? 'all ' : `pattern ${invalidation.pattern}`;
}

/** What one doesn't understand, of a later version perhaps, is taken as everything. */
export function readInvalidation(line: string): Invalidation {
  const end = line.indexOf(' ');
  const [kind, rest] = [line.slice(0, end), line.slice(end + 1)];
  if (kind === 'key') return { kind, key: rest as CacheKey };
  return kind === 'pattern' ? { kind, pattern: rest } : { kind: 'all' };
}

/**
 * Whether a key is meant by a pattern, in which `*` stands for any characters, also none, and `?` for one. In the order of
 * pattern times key, whatever the pattern.
 */
export function matchesPattern(pattern: string, key: string): boolean {
  let [p, k] = [0, 0];
  let [star, from] = [-1, 0];
  while (k < key.length) {
    if (p < pattern.length && pattern[p] === '*') {
      star = p++;
      from = k;
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === key[k])) {
      p++;
      k++;
    } else if (star >= 0) {
      p = star + 1;
      k = ++from;
    } else return false;
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}

/** The same pattern in the language of Redis' SCAN, where more characters are special. */
export function redisPattern(pattern: string): string {
  return pattern.replace(/[[\]\\^]/g, '\\$&').replace(/\*+/g, '*');
}

/** The groups that a key is in, from wide to narrow: `a:`, `a:b:` and `a:b:c:` for `a:b:c:d`, `a:` for `a:b`. */
export function groupsOf(key: string): string[] {
  const groups: string[] = [];
  for (
    let end = key.indexOf(':');
    end !== -1 && groups.length < MAX_GROUP_PARTS;
    end = key.indexOf(':', end + 1)
  )
    groups.push(key.slice(0, end + 1));
  return groups;
}

/** The group that a pattern means, `a:b:` for `a:b:*`: `a:b` and all that is under it. Undefined for other patterns. */
export function groupMeant(pattern: string): string | undefined {
  const group = pattern.slice(0, -1);
  const isGroup =
    pattern.endsWith(':*') && !/[*?]/.test(group) && group.split(':').length <= MAX_GROUP_PARTS + 1;
  return isGroup ? group : undefined;
}
