import type { Principal } from '../edge/principal.js';
import type { Scope } from '../edge/scope.js';
import type { CacheService } from './cache.service.js';
import { keys } from './cache-key.js';
import type { CacheTtl } from './cache-profile.js';

/** What a method of cached results belongs to: it has the cache as `cache`. */
interface Caching {
  readonly cache: CacheService;
}

type Owner = Scope | Principal;
type Method<A extends unknown[], R> = (this: Caching, ...args: A) => Promise<R>;

export interface CacheableOptions {
  keyPrefix: string;
  ttlProfile: CacheTtl;
  /** Each user has a result of its own; the method's first argument is a Principal then. */
  includeUserId?: boolean;
}

const isScope = (value: unknown): value is Scope =>
  typeof (value as Scope | null)?.tenantId === 'string' && (value as Scope).tenantId !== '';

function ownerOf(name: string, owner: unknown, includeUserId: boolean): { scope: Scope; userId?: string } {
  const scope = isScope(owner) ? owner : (owner as Principal | null | undefined)?.scope;
  if (!isScope(scope))
    throw new TypeError(
      `${name} is cached: its first argument has to be the Scope, or Principal, that the result belongs to`,
    );
  if (!includeUserId) return { scope };
  const { id } = owner as Principal;
  if (typeof id !== 'string' || id === '')
    throw new TypeError(`${name} is cached for each user: its first argument has to be a Principal`);
  return { scope, userId: id };
}

/**
 * Caches what a method returns, under `<prefix>:<tenant>[:#user:<id>]:<argument>...`. The tenant is that of the first argument, a Scope or
 * Principal; a method that has none does not compile, and throws when it is called. All arguments are part of the key, so they are
 * plain data; the result is shared and frozen.
 */
export function Cacheable({ keyPrefix, ttlProfile, includeUserId = false }: CacheableOptions) {
  return <A extends [owner: Owner, ...rest: unknown[]], R>(
    _target: Caching,
    name: string | symbol,
    descriptor: TypedPropertyDescriptor<(...args: A) => Promise<R>>,
  ): void => {
    const method = descriptor.value as Method<A, R> | undefined;
    if (typeof method !== 'function')
      throw new TypeError(`@Cacheable() is for methods; ${String(name)} is none`);
    if (method.length === 0)
      throw new TypeError(
        `${String(name)} is cached: its first argument has to be the Scope that the result belongs to`,
      );
    descriptor.value = async function cached(this: Caching, ...args: A): Promise<R> {
      const [owner, ...rest] = args;
      const { scope, userId } = ownerOf(String(name), owner, includeUserId);
      const key = keys.call(keyPrefix, scope, userId, rest);
      return (await this.cache.wrap(key, ttlProfile, () => method.apply(this, args))).value;
    } as (...args: A) => Promise<R>;
  };
}
