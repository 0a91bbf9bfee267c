import { join } from 'node:path';
import { Global, Module } from '@nestjs/common';
import type { Logger } from 'pino';
import { CONFIG, type Config } from '../config.js';
import { LOGGER } from '../log.js';
import { BodyPool } from '../memory/body-pool.js';
import { DiskIngestQueue } from './disk-ingest-queue.js';
import { INGEST_QUEUE } from './ingest-queue.js';

/** Layer 3: what is acknowledged and not yet stored. */
@Global()
@Module({
  providers: [
    {
      provide: INGEST_QUEUE,
      inject: [CONFIG, BodyPool, LOGGER],
      useFactory: (config: Config, bodies: BodyPool, log: Logger) =>
        DiskIngestQueue.open({
          directory: join(config.DATA_DIR, 'queue'),
          maxBacklogBytes: config.INGEST_BACKLOG_BYTES,
          bodies,
          report: (event) => log.warn(event, 'queue'),
        }),
    },
  ],
  exports: [INGEST_QUEUE],
})
export class QueueModule {}
