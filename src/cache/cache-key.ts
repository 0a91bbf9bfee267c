import { createHash } from 'node:crypto';
import type { Scope } from '../edge/scope.js';

declare const BUILT: unique symbol;
/**
 * A key of the cache: `<prefix>:<tenant>:<part>...`. Only the builders here make one, so that the tenant is in every key of a
 * tenant's data, and two different lists of parts never make the same key.
 */
export type CacheKey = string & { readonly [BUILT]: true };

const MAX_PART_LENGTH = 200;

/**
 * One part of a key. `:` separates parts, `*` and `?` are wildcards of patterns, the rest would mean something to Redis'
 * patterns; each is written as `%` and four hex digits, so no two texts become the same part. A long text becomes its hash.
 */
export function keyPart(text: string): string {
  const escaped = text.replace(
    /[^\w./@=,+$#-]/g,
    (unit) => `%${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return escaped.length <= MAX_PART_LENGTH ? escaped : `~${hashOf(text)}`;
}

function build(prefix: string, ...parts: string[]): CacheKey {
  let key = keyPart(prefix);
  for (const part of parts) key += `:${keyPart(part)}`;
  return key as CacheKey;
}

/** The same text for the same value, whatever the order of an object's fields; different texts for different values. */
function canonical(value: unknown, path: string): string {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value);
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'undefined') return 'undefined';
  if (Array.isArray(value))
    return `[${value.map((item, index) => canonical(item, `${path}[${index}]`)).join(',')}]`;
  if (value instanceof Date) return `Date(${value.getTime()})`;
  if (value instanceof Set) return `Set${canonical([...value], path)}`;
  if (value instanceof Map) return `Map${canonical([...value], path)}`;
  const prototype = typeof value === 'object' ? Object.getPrototypeOf(value) : undefined;
  if (prototype !== Object.prototype && prototype !== null)
    throw new TypeError(`${path} cannot be part of a cache key: it is not plain data`);
  const fields = Object.entries(value as Record<string, unknown>).filter(([, item]) => item !== undefined);
  fields.sort(([one], [other]) => (one < other ? -1 : 1));
  return `{${fields.map(([name, item]) => `${JSON.stringify(name)}:${canonical(item, `${path}.${name}`)}`).join(',')}}`;
}

/**
 * A short text that stands for plain data: objects, arrays, dates, sets, maps and scalars. Fields that are undefined count as
 * missing. 132 bits of SHA-256: two different values have the same one by no chance worth a thought.
 *
 * @throws TypeError for functions, symbols and instances of classes
 */
export function hashOf(value: unknown): string {
  return createHash('sha256').update(canonical(value, 'value')).digest('base64url').slice(0, 22);
}

/** Part of a key for one argument of a method: short texts and numbers stay readable. */
function argumentPart(value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return `#${canonical(value, 'argument')}`;
  return `#${hashOf(value)}`;
}

/** A text that starts with `#` would look like an argument that is none. */
const textPart = (part: unknown): string =>
  typeof part === 'string' && part.startsWith('#') ? `#${hashOf(part)}` : argumentPart(part);

/** Every key there is. */
export const keys = {
  /** @param hash of all else that the answer depends on */
  metrics: ({ tenantId }: Scope, metric: string, hash: string) => build('metrics', tenantId, metric, hash),
  logs: ({ tenantId }: Scope, hash: string) => build('logs', tenantId, hash),
  dashboard: ({ tenantId }: Scope, id: string) => build('dashboard', tenantId, id),
  trace: ({ tenantId }: Scope, id: string) => build('trace', tenantId, id),
  services: ({ tenantId }: Scope, ...parts: string[]) => build('services', tenantId, ...parts),
  /** Of a login, known by its session's id, not of a tenant; as it was at a version of all who may do what. */
  session: (id: string, version: string) => build('user', 'session', `${id}@${version}`),
  /** Of a user or key, not of a tenant; as they were at a version of all who may do what. */
  permissions: (id: string, version: string) => build('rbac', 'permissions', `${id}@${version}`),
  /**
   * The answer to a question about telemetry.
   *
   * @param group answers that are dropped together
   */
  answer: (prefix: string, { tenantId }: Scope, group: string, name: string, parameters: unknown) =>
    build(prefix, tenantId, group, name, hashOf(parameters)),
  /** The answer to any query, by its text or name and all its parameters. */
  query: ({ tenantId }: Scope, query: string, parameters: unknown) =>
    build('query', tenantId, hashOf([query, parameters])),
  /** The result of a method; see `Cacheable`. */
  call: (prefix: string, { tenantId }: Scope, userId: string | undefined, values: readonly unknown[]) =>
    build(prefix, tenantId, ...(userId === undefined ? [] : ['#user', userId]), ...values.map(textPart)),
};

/**
 * Pattern of all keys of a prefix, of one tenant, or of one tenant and first part. Such patterns are dropped by one small
 * command, however many keys there are.
 */
export function keysUnder(prefix: string, scope?: Scope, part?: string): string {
  const parts = [prefix, ...(scope ? [scope.tenantId] : []), ...(scope && part !== undefined ? [part] : [])];
  return `${parts.map(keyPart).join(':')}:*`;
}

/** Beginnings of keys that a tenant's are behind. */
export const TENANT_PREFIXES = [
  'services',
  'metrics',
  'logs',
  'traces',
  'trace',
  'dashboard',
  'query',
] as const;

/**
 * What a person means by `<prefix>:<rest>` of one tenant's keys: the tenant is put behind the prefix, which is a plain word, so no
 * pattern reaches another's. `*` alone, or as the prefix, is all prefixes.
 *
 * @param name parts as keys have them, in which `*` is any characters and `?` one
 * @returns a key where the name has no wildcard, else patterns; none when no tenant's keys have such a prefix
 */
export function keysNamed(scope: Scope, name: string): { text: string; key?: CacheKey }[] {
  const [prefix, ...rest] = name.split(':');
  const tenant = keyPart(scope.tenantId);
  return TENANT_PREFIXES.filter((known) => prefix === '*' || prefix === known).map((known) => {
    const text = [known, tenant, ...(name === '*' ? ['*'] : rest)].join(':');
    return /[*?]/.test(text) ? { text } : { text, key: text as CacheKey };
  });
}

/** `metrics` of `metrics:t1:cpu`: what hits and misses are counted by. */
export function prefixOf(key: CacheKey): string {
  const end = key.indexOf(':');
  return end === -1 ? key : key.slice(0, end);
}
