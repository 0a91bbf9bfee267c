import { Global, Inject, Module, type OnApplicationShutdown } from '@nestjs/common';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { CONFIG, type Config } from '../config.js';
import { SHARED_BUCKETS } from '../edge/token-bucket.js';
import { LOGGER } from '../log.js';
import { ClickHouse, openClickHouse } from './clickhouse.js';
import { migrate } from './migrations.js';
import { openPostgres, Postgres } from './postgres.js';
import { openRedis, Redis } from './redis.js';
import { RedisBuckets } from './redis-buckets.js';

/** Both databases, connected and migrated: injecting either means that its schema is there. */
interface Databases {
  clickhouse: ClickHouse;
  postgres: Postgres;
}
const DATABASES = Symbol('DATABASES');

/** Redis database of rate limits and queues, unless the URL names one; the cache has another, so that it can be emptied. */
const BUCKETS_DATABASE = 2;

async function openDatabases(config: Config): Promise<Databases> {
  const opening = [openPostgres(config), openClickHouse(config)] as const;
  try {
    const [postgres, clickhouse] = await Promise.all(opening);
    await migrate(postgres, clickhouse);
    return { postgres, clickhouse };
  } catch (error) {
    const opened = await Promise.allSettled(opening);
    for (const result of opened) if (result.status === 'fulfilled') await result.value.close();
    throw error;
  }
}

@Global()
@Module({
  providers: [
    { provide: DATABASES, inject: [CONFIG], useFactory: openDatabases },
    { provide: ClickHouse, inject: [DATABASES], useFactory: (databases: Databases) => databases.clickhouse },
    { provide: Postgres, inject: [DATABASES], useFactory: (databases: Databases) => databases.postgres },
    { provide: DataSource, inject: [Postgres], useFactory: (postgres: Postgres) => postgres.dataSource },
    {
      provide: Redis,
      inject: [CONFIG, LOGGER],
      useFactory: ({ REDIS_URL }: Config, log: Logger) =>
        REDIS_URL === undefined ? undefined : openRedis(REDIS_URL, { database: BUCKETS_DATABASE, log }),
    },
    {
      provide: SHARED_BUCKETS,
      inject: [Redis],
      useFactory: (redis: Redis | undefined) => (redis ? new RedisBuckets(redis) : undefined),
    },
  ],
  exports: [ClickHouse, Postgres, DataSource, Redis, SHARED_BUCKETS],
})
export class ConnectionsModule implements OnApplicationShutdown {
  constructor(
    @Inject(DATABASES) private readonly databases: Databases,
    @Inject(Redis) private readonly redis: Redis | undefined,
  ) {}

  /** After everything that uses them has stopped: telemetry first, then what says whose it is. */
  async onApplicationShutdown(): Promise<void> {
    this.redis?.close();
    await this.databases.clickhouse.close();
    await this.databases.postgres.close();
  }
}
