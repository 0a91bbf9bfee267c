import { Module } from '@nestjs/common';
import { LogTails } from './log-tails.js';
import { LogsController } from './logs.controller.js';
import { MetricsController } from './metrics.controller.js';
import { ServicesController } from './services.controller.js';
import { TailController } from './tail.controller.js';
import { TracesController } from './traces.controller.js';

/** The query API: a route per question, each answered by one file in store/. */
@Module({
  controllers: [ServicesController, MetricsController, LogsController, TailController, TracesController],
  providers: [LogTails],
})
export class ExploreModule {}
