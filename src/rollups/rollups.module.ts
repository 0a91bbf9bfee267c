import { Inject, Module, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { StaleAnswers } from '../answers/stale-answers.js';
import { CONFIG, type Config } from '../config.js';
import { ClickHouse } from '../connections/clickhouse.js';
import { AGGREGATION, CLEANUP } from '../jobs/declared.js';
import { JobHandlers } from '../jobs/job-handlers.js';
import { JOB_QUEUES, type JobQueues } from '../jobs/job-queue.js';
import { LOGGER } from '../log.js';
import { DiskUse } from '../monitoring/disk-use.js';
import { defaultRetention } from '../retention.js';
import { AggregationWorker, ROLLUP_REPEATS } from './aggregation.worker.js';
import { CleanupController } from './cleanup.controller.js';
import { CLEANUP_REPEAT, CleanupWorker } from './cleanup.worker.js';
import { DiskBudget } from './disk-budget.js';
import { Expiry } from './expiry.js';
import { RetentionController } from './retention.controller.js';

/** Rolling metrics up, each hour and each night, and dropping what is too old or too much. */
@Module({
  controllers: [RetentionController, CleanupController],
  providers: [
    {
      provide: AggregationWorker,
      inject: [ClickHouse, CONFIG, LOGGER],
      useFactory: (clickhouse: ClickHouse, config: Config, log: Logger) =>
        new AggregationWorker(clickhouse, config, log),
    },
    {
      provide: Expiry,
      inject: [ClickHouse, DataSource, StaleAnswers, LOGGER],
      useFactory: (clickhouse: ClickHouse, source: DataSource, answers: StaleAnswers, log: Logger) =>
        new Expiry(clickhouse, source, answers, log),
    },
    {
      provide: CleanupWorker,
      inject: [Expiry, CONFIG],
      useFactory: (expiry: Expiry, config: Config) =>
        new CleanupWorker(expiry, defaultRetention(config), config.CLICKHOUSE_URL !== undefined),
    },
    {
      provide: DiskBudget,
      inject: [Expiry, CONFIG, DiskUse],
      useFactory: (expiry: Expiry, { CLICKHOUSE_URL, DISK_LIMIT, DATA_DIR }: Config, use: DiskUse) => {
        const isLimited = CLICKHOUSE_URL === undefined && DISK_LIMIT !== undefined;
        const folder = isLimited ? { directory: DATA_DIR, limitBytes: DISK_LIMIT } : undefined;
        return new DiskBudget(expiry, folder, use);
      },
    },
  ],
})
export class RollupsModule implements OnApplicationBootstrap, OnModuleDestroy {
  constructor(
    @Inject(AggregationWorker) aggregation: AggregationWorker,
    @Inject(CleanupWorker) private readonly cleanup: CleanupWorker,
    @Inject(JobHandlers) handlers: JobHandlers,
    @Inject(JOB_QUEUES) private readonly queues: JobQueues,
    @Inject(LOGGER) private readonly log: Logger,
    @Inject(DiskBudget) private readonly budget: DiskBudget,
    @Inject(CONFIG) private readonly config: Config,
  ) {
    handlers.register(AGGREGATION, (job) => aggregation.handle(job));
    handlers.register(CLEANUP, (job) => cleanup.handle(job));
  }

  async onApplicationBootstrap(): Promise<void> {
    if (this.config.TF_ROLES.has('worker')) {
      await this.keepTtl();
      this.budget.start();
    }
    if (!this.config.TF_ROLES.has('scheduler')) return;
    for (const repeat of ROLLUP_REPEATS) await this.queues.repeat(AGGREGATION, repeat);
    await this.queues.repeat(CLEANUP, CLEANUP_REPEAT);
  }

  onModuleDestroy(): Promise<void> {
    return this.budget.stop();
  }

  /** It is the backstop, set again each night: a full disk, say, must not keep the program from starting. */
  private async keepTtl(): Promise<void> {
    try {
      await this.cleanup.keepTtl('raise');
    } catch (error) {
      this.log.error({ err: error }, 'The TTL of the tables could not be set');
    }
  }
}
