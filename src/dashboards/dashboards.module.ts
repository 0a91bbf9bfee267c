import { type DynamicModule, Module } from '@nestjs/common';
import type { PanelQuestions } from './dashboard.schema.js';
import { DashboardsController, PANEL_QUESTIONS } from './dashboards.controller.js';

/** Saved dashboards. */
@Module({ controllers: [DashboardsController] })
export class DashboardsModule {
  /** @param questions what panels may ask */
  static with(questions: PanelQuestions): DynamicModule {
    return {
      module: DashboardsModule,
      providers: [{ provide: PANEL_QUESTIONS, useValue: questions }],
    };
  }
}
