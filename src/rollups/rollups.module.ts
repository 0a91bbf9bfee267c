import { Module } from '@nestjs/common';
import type { Logger } from 'pino';
import { CONFIG, type Config } from '../config.js';
import { ClickHouse } from '../connections/clickhouse.js';
import { LOGGER } from '../log.js';
import { AggregationWorker } from './aggregation.worker.js';

/** Rolling metrics up. The jobs come from the queue AGGREGATION, which `main.ts` gives the worker to. */
@Module({
  providers: [
    {
      provide: AggregationWorker,
      inject: [ClickHouse, CONFIG, LOGGER],
      useFactory: (clickhouse: ClickHouse, config: Config, log: Logger) =>
        new AggregationWorker(clickhouse, config, log),
    },
  ],
  exports: [AggregationWorker],
})
export class RollupsModule {}
