import { Controller, Get, Inject, type OnModuleInit, Param, Res } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { Public } from '../edge/scope.guard.js';
import { AppError } from '../errors.js';
import { ApiRoute } from '../http/api-route.js';
import { docsFile, PAGE, PAGE_POLICY } from './docs-page.js';
import { openApiDocument } from './document.js';
import { collectRoutes, type Route } from './routes.js';

const FILE_CACHE = 'public, max-age=86400';

/** The API's description, for programs and for people. It shows nothing of any tenant. */
@Public()
@Controller()
export class DocsController implements OnModuleInit {
  private routes: Route[] = [];
  private document: Record<string, unknown> | undefined;

  constructor(@Inject(DiscoveryService) private readonly discovery: DiscoveryService) {}

  /** At the start, so that a route that does not describe itself is found then and not by a reader. */
  onModuleInit(): void {
    this.routes = collectRoutes(this.discovery);
  }

  @ApiRoute({ summary: 'Read this document (OpenAPI 3.1)', response: z.looseObject({ openapi: z.string() }) })
  @Get('docs-json')
  json(): Record<string, unknown> {
    // When somebody asks for it: it takes a tenth of the CPU of a start.
    this.document ??= openApiDocument(this.routes);
    return this.document;
  }

  @ApiRoute({ summary: 'Read this document as a page', contentType: 'text/html' })
  @Get('docs')
  page(@Res({ passthrough: true }) reply: FastifyReply): string {
    reply.header('content-type', 'text/html; charset=utf-8').header('content-security-policy', PAGE_POLICY);
    return PAGE;
  }

  @ApiRoute({ summary: 'Read a file of the page', contentType: '*/*' })
  @Get('docs/:file')
  async file(@Param('file') name: string, @Res({ passthrough: true }) reply: FastifyReply): Promise<Buffer> {
    const file = await docsFile(name);
    if (!file) throw new AppError('NOT_FOUND', `The page has no file ${name}.`);
    reply.header('content-type', file.type).header('cache-control', FILE_CACHE);
    return file.body;
  }
}
