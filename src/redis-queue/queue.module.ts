import { join } from 'node:path';
import { Global, Module } from '@nestjs/common';
import type { Logger } from 'pino';
import { CONFIG, type Config } from '../config.js';
import { LOGGER } from '../log.js';
import { BodyPool } from '../memory/body-pool.js';
import { DiskIngestQueue } from '../queue/disk-ingest-queue.js';
import { INGEST_QUEUE, type IngestQueue } from '../queue/ingest-queue.js';
import { RedisIngestQueue } from './redis-ingest-queue.js';

/** Redis takes part in what is shared: with the store of this process alone, what waits for it belongs beside it. */
export function opensRedisQueue(config: Pick<Config, 'REDIS_URL' | 'CLICKHOUSE_URL'>): boolean {
  return config.REDIS_URL !== undefined && config.CLICKHOUSE_URL !== undefined;
}

/** Layer 3: what is acknowledged and not yet stored. */
@Global()
@Module({
  providers: [
    {
      provide: INGEST_QUEUE,
      inject: [CONFIG, BodyPool, LOGGER],
      useFactory: async (config: Config, bodies: BodyPool, log: Logger): Promise<IngestQueue> => {
        const { perSecond } = config.QUEUE_OTLP_INGESTION;
        const maxBacklogBytes = config.INGEST_BACKLOG_BYTES;
        if (config.REDIS_URL !== undefined && opensRedisQueue(config))
          return new RedisIngestQueue({ url: config.REDIS_URL, maxBacklogBytes, perSecond, bodies, log });
        return DiskIngestQueue.open({
          directory: join(config.DATA_DIR, 'queue'),
          maxBacklogBytes,
          bodies,
          perSecond,
          report: (event) => log.warn(event, 'queue'),
        });
      },
    },
  ],
  exports: [INGEST_QUEUE],
})
export class QueueModule {}
