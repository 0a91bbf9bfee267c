import { type DynamicModule, Module } from '@nestjs/common';
import type { Logger } from 'pino';
import { AccessModule } from './access/access.module.js';
import { AlertsModule } from './alerts/alerts.module.js';
import { AnswersModule } from './answers/answers.module.js';
import { CacheModule } from './cache/cache.module.js';
import { CONFIG, type Config } from './config.js';
import { ConnectionsModule } from './connections/connections.module.js';
import { DashboardsModule } from './dashboards/dashboards.module.js';
import { EdgeModule } from './edge/edge.module.js';
import { ExploreModule } from './explore/explore.module.js';
import { PANEL_QUESTIONS } from './explore/panel-questions.js';
import { IngestModule } from './ingest/ingest.module.js';
import { JobsModule } from './jobs/jobs.module.js';
import { LedgerModule } from './ledger/ledger.module.js';
import { LOGGER } from './log.js';
import { MonitoringModule } from './monitoring/monitoring.module.js';
import { DeliveriesModule, NotificationsModule } from './notifications/notifications.module.js';
import { OpenApiModule } from './openapi/openapi.module.js';
import { QueueModule } from './redis-queue/queue.module.js';
import { RollupsModule } from './rollups/rollups.module.js';
import { TenantsModule } from './tenants/tenants.module.js';

@Module({})
class SettingsModule {
  static with(config: Config, log: Logger): DynamicModule {
    const providers = [
      { provide: CONFIG, useValue: config },
      { provide: LOGGER, useValue: log },
    ];
    return { module: SettingsModule, global: true, providers, exports: [CONFIG, LOGGER] };
  }
}

/** The rooms, in the order data flows through them. */
@Module({})
export class AppModule {
  static with(config: Config, log: Logger): DynamicModule {
    return {
      module: AppModule,
      imports: [
        SettingsModule.with(config, log),
        EdgeModule,
        IngestModule,
        QueueModule,
        LedgerModule,
        JobsModule,
        ConnectionsModule,
        CacheModule,
        AnswersModule,
        TenantsModule,
        AccessModule,
        ExploreModule,
        DashboardsModule.with(PANEL_QUESTIONS),
        AlertsModule,
        NotificationsModule,
        DeliveriesModule,
        RollupsModule,
        MonitoringModule,
        OpenApiModule,
      ],
    };
  }
}
