import { randomUUID } from 'node:crypto';
import { Global, Inject, Module, type OnApplicationShutdown } from '@nestjs/common';
import type { Logger } from 'pino';
import { CONFIG, type Config } from '../config.js';
import { openRedis, type Redis, type RedisSubscription, subscribeRedis } from '../connections/redis.js';
import { LOGGER } from '../log.js';
import { CacheService } from './cache.service.js';
import { readInvalidation } from './invalidation.js';
import { RedisTier } from './redis-tier.js';
import type { SharedTier } from './shared-tier.js';

/** Redis database of the cache, unless the URL names one. */
const CACHE_DATABASE = 1;

type Settings = Pick<Config, 'REDIS_URL' | 'CACHE_L1_ENTRIES' | 'CACHE_L1_BYTES'>;

/** A cache with what it is connected to; not connected to anything without REDIS_URL. */
export interface OpenCache {
  readonly service: CacheService;
  readonly redis?: Redis;
  readonly subscription?: RedisSubscription;
  close(): Promise<void>;
}

/**
 * Returns at once: Redis is connected to in the background, and until then there is L1 only.
 *
 * @param disturb puts something between the cache and Redis; for tests
 */
export function openCache(
  settings: Settings,
  log: Pick<Logger, 'warn' | 'info'>,
  disturb: (tier: SharedTier) => SharedTier = (tier) => tier,
): OpenCache {
  const options = { maxEntries: settings.CACHE_L1_ENTRIES, maxBytes: settings.CACHE_L1_BYTES };
  const url = settings.REDIS_URL;
  if (url === undefined) {
    const service = new CacheService(options, undefined, log);
    return { service, close: () => service.close() };
  }
  const redis = openRedis(url, { database: CACHE_DATABASE, log });
  const sender = randomUUID();
  // Channels are not apart by database.
  const channel = `tf:cache:${new URL(url).pathname.slice(1) || CACHE_DATABASE}`;
  const service = new CacheService(options, disturb(new RedisTier(redis, channel, sender)), log);
  const subscription = subscribeRedis(url, channel, {
    onUp: () => service.listening(),
    onDown: () => service.cutOff(),
    onMessage: (message) => {
      const end = message.indexOf(' ');
      if (message.slice(0, end) !== sender) service.heard(readInvalidation(message.slice(end + 1)));
    },
  });
  const close = async () => {
    await service.close();
    subscription.close();
    redis.close();
  };
  return { service, redis, subscription, close };
}

const OPEN_CACHE = Symbol('OPEN_CACHE');

@Global()
@Module({
  providers: [
    {
      provide: OPEN_CACHE,
      inject: [CONFIG, LOGGER],
      useFactory: (config: Config, log: Logger) => openCache(config, log),
    },
    { provide: CacheService, inject: [OPEN_CACHE], useFactory: ({ service }: OpenCache) => service },
  ],
  exports: [CacheService],
})
export class CacheModule implements OnApplicationShutdown {
  constructor(@Inject(OPEN_CACHE) private readonly cache: OpenCache) {}

  async onApplicationShutdown(): Promise<void> {
    await this.cache.close();
  }
}
