import { Global, Module } from '@nestjs/common';
import type { Logger } from 'pino';
import { Registry } from 'prom-client';
import { CONFIG, type Config } from '../config.js';
import { ClickHouse } from '../connections/clickhouse.js';
import { LOGGER } from '../log.js';
import { INGEST_QUEUE, type IngestQueue } from '../queue/ingest-queue.js';
import { Freshness } from './freshness.js';
import { LedgerController } from './ledger.controller.js';
import { Ledger } from './ledger.js';
import { registerLedgerMetrics } from './ledger-metrics.js';

/** Where each item is, and how long the newest took. */
@Global()
@Module({
  controllers: [LedgerController],
  providers: [
    {
      provide: Ledger,
      inject: [ClickHouse, INGEST_QUEUE, LOGGER, Registry],
      useFactory: (clickhouse: ClickHouse, queue: IngestQueue, log: Logger, registry: Registry) => {
        const ledger = new Ledger(clickhouse, queue, log);
        registerLedgerMetrics(registry, ledger);
        return ledger;
      },
    },
    {
      provide: Freshness,
      inject: [Registry, CONFIG],
      useFactory: (registry: Registry, { CANARY_INTERVAL_MS, TF_ROLES }: Config) =>
        new Freshness(registry, CANARY_INTERVAL_MS > 0 && TF_ROLES.has('worker'), Date.now()),
    },
  ],
  exports: [Ledger, Freshness],
})
export class LedgerModule {}
