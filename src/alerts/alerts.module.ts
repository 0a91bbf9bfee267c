import { Inject, Module, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import type { Logger } from 'pino';
import { Registry } from 'prom-client';
import { DataSource } from 'typeorm';
import { CONFIG, type Config } from '../config.js';
import { ClickHouse } from '../connections/clickhouse.js';
import { ALERT_EVALUATION } from '../jobs/declared.js';
import { JobHandlers } from '../jobs/job-handlers.js';
import { JOB_QUEUES, type JobQueues } from '../jobs/job-queue.js';
import { LOGGER } from '../log.js';
import { EvaluationMetrics, registerAlertMetrics } from './alert-metrics.js';
import { Evaluator } from './evaluator.js';
import { IncidentsController } from './incidents.controller.js';
import { Measuring } from './measure.js';
import { AlertRulesController } from './rules.controller.js';
import { AlertScheduler } from './scheduler.js';
import { SilencesController } from './silences.controller.js';

const allowedPerMinute = ({ QUEUE_ALERT_EVALUATION: { perSecond } }: Config) => 60 * perSecond;

/** Rules over telemetry, their evaluation, and incidents. */
@Module({
  controllers: [AlertRulesController, IncidentsController, SilencesController],
  providers: [
    {
      provide: Evaluator,
      inject: [DataSource, ClickHouse, JOB_QUEUES, LOGGER, CONFIG],
      useFactory: (
        source: DataSource,
        clickhouse: ClickHouse,
        queues: JobQueues,
        log: Logger,
        { QUEUE_ALERT_EVALUATION: { tries } }: Config,
      ) =>
        new Evaluator({
          ...{ source, measuring: new Measuring(clickhouse), queues, log, tries },
          upSinceMs: performance.timeOrigin,
        }),
    },
    {
      provide: AlertScheduler,
      inject: [DataSource, JOB_QUEUES, LOGGER, CONFIG],
      useFactory: (source: DataSource, queues: JobQueues, log: Logger, config: Config) =>
        new AlertScheduler(source, queues, log, allowedPerMinute(config)),
    },
  ],
})
export class AlertsModule implements OnApplicationBootstrap, OnModuleDestroy {
  constructor(
    @Inject(AlertScheduler) private readonly scheduler: AlertScheduler,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(Registry) private readonly registry: Registry,
    @Inject(Evaluator) evaluator: Evaluator,
    @Inject(JobHandlers) handlers: JobHandlers,
  ) {
    const metrics = new EvaluationMetrics(registry);
    handlers.register(ALERT_EVALUATION, (job) =>
      metrics.observe(job.payload.tick, () => evaluator.evaluate(job, Date.now())),
    );
  }

  onApplicationBootstrap(): void {
    // What all processes share is told by those that answer for it.
    if (this.config.TF_ROLES.has('api'))
      registerAlertMetrics(this.registry, this.source, allowedPerMinute(this.config));
    if (this.config.TF_ROLES.has('scheduler')) this.scheduler.start();
  }

  /** While PostgreSQL is still connected. */
  async onModuleDestroy(): Promise<void> {
    await this.scheduler.stop();
  }
}
