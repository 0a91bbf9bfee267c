import { Global, Module } from '@nestjs/common';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { HealthController } from './health.controller.js';
import { IngestCounters } from './ingest-counters.js';
import { MetricsController } from './metrics.controller.js';

@Global()
@Module({
  controllers: [HealthController, MetricsController],
  providers: [
    {
      provide: Registry,
      useFactory: () => {
        const registry = new Registry();
        // The lag is sampled every 50 ms; at the default of 10 ms sampling was most of what the idle process did.
        collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 50 });
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
