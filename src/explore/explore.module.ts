import { Module } from '@nestjs/common';
import { LogsController } from './logs.controller.js';
import { MetricsController } from './metrics.controller.js';
import { ServicesController } from './services.controller.js';
import { TracesController } from './traces.controller.js';

/** The query API: a route per question, each answered by one file in store/. */
@Module({ controllers: [ServicesController, MetricsController, LogsController, TracesController] })
export class ExploreModule {}
