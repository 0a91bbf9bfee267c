import { Global, Module } from '@nestjs/common';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { CacheService } from '../cache/cache.service.js';
import { BodyPool } from '../memory/body-pool.js';
import { registerBodyMemory } from './body-memory.js';
import { CacheController } from './cache.controller.js';
import { registerCacheMetrics } from './cache-metrics.js';
import { DiskUse } from './disk-use.js';
import { registerEventLoopLag } from './event-loop-lag.js';
import { HealthController } from './health.controller.js';
import { IngestCounters } from './ingest-counters.js';
import { MetricsController } from './metrics.controller.js';

@Global()
@Module({
  controllers: [HealthController, MetricsController, CacheController],
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
    { provide: DiskUse, inject: [Registry], useFactory: (registry: Registry) => new DiskUse(registry) },
  ],
  exports: [Registry, IngestCounters, DiskUse],
})
export class MonitoringModule {}
