import { Controller, Get, Inject, Query, UseInterceptors } from '@nestjs/common';
import { Answers } from '../answers/answers.js';
import { ClickHouse } from '../connections/clickhouse.js';
import { CurrentScope } from '../edge/current-scope.js';
import { Requires } from '../edge/scope.guard.js';
import type { Scope } from '../edge/scope.js';
import { ApiRoute } from '../http/api-route.js';
import { CallerSignal } from '../http/caller-signal.js';
import { parseQuery, type RawQuery } from '../http/request.schema.js';
import { resolveRange } from '../http/time.js';
import { searchLogs } from '../store/logs.js';
import { logRecord } from './answers.schema.js';
import { ExplainInterceptor } from './explain.interceptor.js';
import { logsQuery, questionOf, RECORD_PREFIXES } from './logs.schema.js';

@Requires('read')
@UseInterceptors(ExplainInterceptor)
@Controller('api/v1/logs')
export class LogsController {
  constructor(
    @Inject(ClickHouse) private readonly clickhouse: ClickHouse,
    @Inject(Answers) private readonly answers: Answers,
  ) {}

  @ApiRoute({
    summary: 'Search log records',
    query: logsQuery,
    attributes: RECORD_PREFIXES,
    list: logRecord,
    errors: ['QUERY_TOO_EXPENSIVE'],
  })
  @Get()
  search(@CurrentScope() scope: Scope, @Query() raw: RawQuery, @CallerSignal() signal: AbortSignal) {
    const nowMs = Date.now();
    const { from, to, max_age, ...query } = parseQuery(logsQuery, raw, RECORD_PREFIXES);
    const question = { ...questionOf(query), order: query.order };
    const { page, limit, cursor } = query;
    const range = resolveRange(from, to, nowMs);
    const asked = { from, to, max_age, range, question: { ...question, page, limit, cursor } };
    return this.answers.get(
      scope,
      { kind: 'logs', name: 'search', ...asked },
      nowMs,
      (anyone) => searchLogs(scope, this.clickhouse, question, range, query, anyone),
      signal,
    );
  }
}
