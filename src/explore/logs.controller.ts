import { Controller, Get, Inject, Query } from '@nestjs/common';
import { ClickHouse } from '../connections/clickhouse.js';
import { CurrentScope } from '../edge/current-scope.js';
import { Requires } from '../edge/scope.guard.js';
import type { Scope } from '../edge/scope.js';
import { ApiRoute } from '../http/api-route.js';
import { parseQuery, type RawQuery } from '../http/request.schema.js';
import { resolveRange } from '../http/time.js';
import { searchLogs } from '../store/logs.js';
import { logRecord } from './answers.schema.js';
import { CallerSignal } from './caller-signal.js';
import { logsQuery, RECORD_PREFIXES } from './logs.schema.js';

@Requires('read')
@Controller('api/v1/logs')
export class LogsController {
  constructor(@Inject(ClickHouse) private readonly clickhouse: ClickHouse) {}

  @ApiRoute({
    summary: 'Search log records',
    query: logsQuery,
    attributes: RECORD_PREFIXES,
    list: logRecord,
    errors: ['QUERY_TOO_EXPENSIVE'],
  })
  @Get()
  search(@CurrentScope() scope: Scope, @Query() raw: RawQuery, @CallerSignal() signal: AbortSignal) {
    const { from, to, ...query } = parseQuery(logsQuery, raw, RECORD_PREFIXES);
    const question = {
      terms: query.q,
      services: query.service,
      severities: query.severity,
      minSeverity: query.min_severity,
      traceId: query.trace_id,
      spanId: query.span_id,
      attributes: query.attributes,
      order: query.order,
    };
    return searchLogs(scope, this.clickhouse, question, resolveRange(from, to, Date.now()), query, signal);
  }
}
