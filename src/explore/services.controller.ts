import { Controller, Get, Inject, Query, UseInterceptors } from '@nestjs/common';
import { Answers } from '../answers/answers.js';
import { ClickHouse } from '../connections/clickhouse.js';
import { CurrentScope } from '../edge/current-scope.js';
import { Requires } from '../edge/scope.guard.js';
import type { Scope } from '../edge/scope.js';
import { ApiRoute } from '../http/api-route.js';
import { parseQuery, type RawQuery } from '../http/request.schema.js';
import { resolveRange } from '../http/time.js';
import { listServices } from '../store/services.js';
import { service } from './answers.schema.js';
import { CallerSignal } from './caller-signal.js';
import { ExplainInterceptor } from './explain.interceptor.js';
import { servicesQuery } from './services.schema.js';

@Requires('read')
@UseInterceptors(ExplainInterceptor)
@Controller('api/v1/services')
export class ServicesController {
  constructor(
    @Inject(ClickHouse) private readonly clickhouse: ClickHouse,
    @Inject(Answers) private readonly answers: Answers,
  ) {}

  @ApiRoute({
    summary: 'List services, by what they sent',
    query: servicesQuery,
    list: service,
    errors: ['QUERY_TOO_EXPENSIVE'],
  })
  @Get()
  list(@CurrentScope() scope: Scope, @Query() raw: RawQuery, @CallerSignal() signal: AbortSignal) {
    const nowMs = Date.now();
    const { from, to, page, limit, cursor } = parseQuery(servicesQuery, raw);
    const range = resolveRange(from, to, nowMs);
    const question = { page, limit, cursor };
    return this.answers.get(
      scope,
      { kind: 'services', name: 'list', from, to, range, question },
      nowMs,
      (anyone) => listServices(scope, this.clickhouse, range, question, anyone),
      signal,
    );
  }
}
