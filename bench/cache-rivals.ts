import KeyvRedis from '@keyv/redis';
import { BentoCache, bentostore } from 'bentocache';
import { memoryDriver } from 'bentocache/drivers/memory';
import { redisBusDriver, redisDriver } from 'bentocache/drivers/redis';
import { createCache } from 'cache-manager';
import { Keyv } from 'keyv';
import pino from 'pino';
import { openCache } from '../src/cache/cache.module.js';
import { keys, keysUnder } from '../src/cache/cache-key.js';
import { CacheProfile } from '../src/cache/cache-profile.js';

/** One cache in memory and Redis, as the benchmark sees it; each with what makes it fastest. */
export interface Rival {
  readonly name: string;
  /** The value, computed when it is nowhere. */
  wrap(id: string, source: () => Promise<unknown>): Promise<unknown>;
  /** Where it keeps it in Redis. */
  redisKey(id: string): string;
  /** Ways to drop all values, by name. */
  readonly drop: Record<string, () => Promise<unknown>>;
  close(): Promise<unknown>;
}

const MAX_ENTRIES = 1_000;
const TTL_MS = 300_000;
/** Ids that begin so are for the benchmark of dropping; others need no tag, which would only slow bentocache down. */
export const TAGGED = 'k';
const scope = { organizationId: 'o', workspaceId: 'w', tenantId: '3f2b8c1e-9d47-4a50-b6a1-0c5d7e8f9a12' };

export async function openOurs(redisUrl: string): Promise<Rival> {
  const settings = { REDIS_URL: redisUrl, CACHE_L1_ENTRIES: MAX_ENTRIES, CACHE_L1_BYTES: 64 * 1024 * 1024 };
  const cache = openCache(settings, pino({ level: 'silent' }));
  while (!cache.redis?.isUp || !cache.service.getStats().isListening) await new Promise(setImmediate);
  // Built once, as a caller does who asks for the same again; the others get texts that are ready too.
  const known = new Map<string, ReturnType<typeof keys.logs>>();
  const keyOf = (id: string) => {
    let key = known.get(id);
    if (!key) {
      key = keys.logs(scope, id);
      known.set(id, key);
    }
    return key;
  };
  return {
    name: 'this cache',
    wrap: (id, source) => cache.service.wrap(keyOf(id), CacheProfile.SHORT, source),
    redisKey: (id) => `tf:cache:v:${keys.logs(scope, id)}`,
    drop: {
      version: () => cache.service.delPattern(keysUnder('logs', scope)),
      scan: () => cache.service.delPattern(`logs:${scope.tenantId}:k*`),
    },
    close: () => cache.close(),
  };
}

export async function openBento(redisUrl: string): Promise<Rival> {
  const { hostname: host, port } = new URL(redisUrl);
  const connection = { host, port: Number(port), db: 3 };
  const store = bentostore()
    .useL1Layer(memoryDriver({ maxItems: MAX_ENTRIES, serialize: false }))
    .useL2Layer(redisDriver({ connection }))
    .useBus(redisBusDriver({ connection }));
  const bento = new BentoCache({ default: 'multi', stores: { multi: store } });
  const namespace = bento.namespace('logs');
  return {
    name: 'bentocache',
    wrap: (key, factory) =>
      namespace.getOrSet({ key, ttl: TTL_MS, tags: key.startsWith(TAGGED) ? ['logs'] : undefined, factory }),
    redisKey: (id) => `bentocache:logs:${id}`,
    drop: {
      tag: () => namespace.deleteByTag({ tags: ['logs'] }),
      namespace: () => namespace.clear(),
    },
    close: () => bento.disconnectAll(),
  };
}

export async function openCacheManager(redisUrl: string): Promise<Rival> {
  const memory = new Keyv({ serialize: undefined, deserialize: undefined, useKeyPrefix: false });
  const redis = new Keyv({ store: new KeyvRedis(`${redisUrl}/4`, { namespace: 'logs' }), namespace: 'logs' });
  const cache = createCache({ stores: [memory, redis] });
  return {
    name: 'cache-manager',
    wrap: (key, source) => cache.wrap(key, source, { ttl: TTL_MS }),
    redisKey: (id) => `logs::logs:${id}`,
    drop: { namespace: () => cache.clear() },
    close: () => cache.disconnect(),
  };
}
