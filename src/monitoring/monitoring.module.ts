import { Global, Module } from '@nestjs/common';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { BodyPool } from '../memory/body-pool.js';
import { registerBodyMemory } from './body-memory.js';
import { registerEventLoopLag } from './event-loop-lag.js';
import { HealthController } from './health.controller.js';
import { IngestCounters } from './ingest-counters.js';
import { MetricsController } from './metrics.controller.js';

@Global()
@Module({
  controllers: [HealthController, MetricsController],
  providers: [
    {
      provide: Registry,
      inject: [BodyPool],
      useFactory: (bodies: BodyPool) => {
        const registry = new Registry();
        collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 1000 });
        // In these numbers the sampling period is contained.
        for (const { name } of registry.getMetricsAsArray())
          if (name.startsWith('nodejs_eventloop_lag_')) registry.removeSingleMetric(name);
        registerEventLoopLag(registry);
        registerBodyMemory(registry, bodies);
        return registry;
      },
    },
    {
      provide: IngestCounters,
      inject: [Registry],
      useFactory: (registry: Registry) => new IngestCounters(registry),
    },
  ],
  exports: [Registry, IngestCounters],
})
export class MonitoringModule {}
