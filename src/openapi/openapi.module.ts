import { Module } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { DocsController } from './docs.controller.js';

/** The description of every route, from what the routes say of themselves. */
@Module({ imports: [DiscoveryModule], controllers: [DocsController] })
export class OpenApiModule {}
