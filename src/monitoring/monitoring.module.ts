import { Global, Inject, Module, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { CacheService } from '../cache/cache.service.js';
import { allQueueNumbers, CONFIG, type Config } from '../config.js';
import { JOB_QUEUES, type JobQueues } from '../jobs/job-queue.js';
import { BodyPool } from '../memory/body-pool.js';
import { INGEST_QUEUE, type IngestQueue } from '../queue/ingest-queue.js';
import { registerBodyMemory } from './body-memory.js';
import { CacheController } from './cache.controller.js';
import { registerCacheMetrics } from './cache-metrics.js';
import { DiskUse } from './disk-use.js';
import { registerEventLoopLag } from './event-loop-lag.js';
import { HealthController } from './health.controller.js';
import { IngestCounters } from './ingest-counters.js';
import { MetricsController } from './metrics.controller.js';
import { QueueFigures } from './queue-figures.js';
import { registerQueueMetrics } from './queue-metrics.js';
import { QueuesController } from './queues.controller.js';

@Global()
@Module({
  controllers: [HealthController, MetricsController, CacheController, QueuesController],
  providers: [
    {
      provide: Registry,
      inject: [BodyPool, CacheService],
      useFactory: (bodies: BodyPool, cache: CacheService) => {
        const registry = new Registry();
        collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 1000 });
        // In these numbers the sampling period is contained.
        for (const { name } of registry.getMetricsAsArray())
          if (name.startsWith('nodejs_eventloop_lag_')) registry.removeSingleMetric(name);
        registerEventLoopLag(registry);
        registerBodyMemory(registry, bodies);
        registerCacheMetrics(registry, cache);
        return registry;
      },
    },
    {
      provide: IngestCounters,
      inject: [Registry],
      useFactory: (registry: Registry) => new IngestCounters(registry),
    },
    {
      provide: QueueFigures,
      inject: [JOB_QUEUES, INGEST_QUEUE, CONFIG],
      useFactory: (jobs: JobQueues, ingest: IngestQueue, config: Config) =>
        new QueueFigures(jobs, ingest, allQueueNumbers(config)),
    },
    { provide: DiskUse, inject: [Registry], useFactory: (registry: Registry) => new DiskUse(registry) },
  ],
  exports: [Registry, IngestCounters, DiskUse],
})
export class MonitoringModule implements OnApplicationBootstrap, OnModuleDestroy {
  constructor(
    @Inject(QueueFigures) private readonly queues: QueueFigures,
    @Inject(Registry) private readonly registry: Registry,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  onApplicationBootstrap(): void {
    // What all processes share is told by those that answer for it.
    if (!this.config.TF_ROLES.has('api')) return;
    this.queues.start();
    registerQueueMetrics(this.registry, this.queues);
  }

  onModuleDestroy(): void {
    this.queues.stop();
  }
}
