import { Inject, Module, type OnApplicationBootstrap } from '@nestjs/common';
import type { Logger } from 'pino';
import { CONFIG, type Config } from '../config.js';
import { ClickHouse } from '../connections/clickhouse.js';
import { AGGREGATION } from '../jobs/declared.js';
import { JobHandlers } from '../jobs/job-handlers.js';
import { JOB_QUEUES, type JobQueues } from '../jobs/job-queue.js';
import { LOGGER } from '../log.js';
import { AggregationWorker, ROLLUP_REPEATS } from './aggregation.worker.js';

/** Rolling metrics up: each hour, and each night. */
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
export class RollupsModule implements OnApplicationBootstrap {
  constructor(
    @Inject(AggregationWorker) worker: AggregationWorker,
    @Inject(JobHandlers) handlers: JobHandlers,
    @Inject(JOB_QUEUES) private readonly queues: JobQueues,
    @Inject(CONFIG) private readonly config: Config,
  ) {
    handlers.register(AGGREGATION, (job) => worker.handle(job));
  }

  async onApplicationBootstrap(): Promise<void> {
    if (!this.config.TF_ROLES.has('scheduler')) return;
    for (const repeat of ROLLUP_REPEATS) await this.queues.repeat(AGGREGATION, repeat);
  }
}
