import { Readable } from 'node:stream';
import { Controller, Get, Inject, Param, Query, StreamableFile, UseInterceptors } from '@nestjs/common';
import { Answers } from '../answers/answers.js';
import { ClickHouse } from '../connections/clickhouse.js';
import { CurrentScope } from '../edge/current-scope.js';
import { Requires } from '../edge/scope.guard.js';
import type { Scope } from '../edge/scope.js';
import { ApiRoute } from '../http/api-route.js';
import { CallerSignal } from '../http/caller-signal.js';
import { parseQuery, type RawQuery } from '../http/request.schema.js';
import { allTime, resolveRange } from '../http/time.js';
import { readTrace, TraceReading } from '../store/trace.js';
import { searchTraces } from '../store/traces.js';
import { trace, traceSummary } from './answers.schema.js';
import { ExplainInterceptor } from './explain.interceptor.js';
import { RECORD_PREFIXES } from './logs.schema.js';
import { traceJson } from './trace-json.js';
import { traceQuery, tracesQuery } from './traces.schema.js';

@Requires('read')
@UseInterceptors(ExplainInterceptor)
@Controller('api/v1/traces')
export class TracesController {
  constructor(
    @Inject(ClickHouse) private readonly clickhouse: ClickHouse,
    @Inject(Answers) private readonly answers: Answers,
  ) {}

  @ApiRoute({
    summary: 'Search traces',
    description: 'A trace is found when one of its spans meets all conditions.',
    query: tracesQuery,
    attributes: RECORD_PREFIXES,
    list: traceSummary,
    errors: ['QUERY_TOO_EXPENSIVE'],
  })
  @Get()
  search(@CurrentScope() scope: Scope, @Query() raw: RawQuery, @CallerSignal() signal: AbortSignal) {
    const nowMs = Date.now();
    const { from, to, max_age, ...query } = parseQuery(tracesQuery, raw, RECORD_PREFIXES);
    const question = {
      services: query.service,
      operations: query.operation,
      kinds: query.kind,
      statuses: query.status,
      minDurationMs: query.min_duration_ms,
      maxDurationMs: query.max_duration_ms,
      attributes: query.attributes,
      order: query.order,
    };
    const { page, limit, cursor } = query;
    const range = resolveRange(from, to, nowMs);
    const asked = { from, to, max_age, range, question: { ...question, page, limit, cursor } };
    return this.answers.get(
      scope,
      { kind: 'traces', name: 'search', ...asked },
      nowMs,
      (anyone) => searchTraces(scope, this.clickhouse, question, range, query, anyone),
      signal,
    );
  }

  /** One trace with every span; without from and to it is looked for in all days. */
  @ApiRoute({
    summary: 'Read a trace with every span',
    description: 'Looked for in all days unless from or to is given.',
    query: traceQuery.omit({ trace_id: true }),
    params: traceQuery.pick({ trace_id: true }),
    response: trace,
    errors: ['QUERY_TOO_EXPENSIVE'],
  })
  @Get(':trace_id')
  async read(
    @CurrentScope() scope: Scope,
    @Param('trace_id') traceId: string,
    @Query() raw: RawQuery,
    @CallerSignal() signal: AbortSignal,
  ) {
    const { from, to, max_age, trace_id } = parseQuery(traceQuery, { ...raw, trace_id: traceId });
    const nowMs = Date.now();
    const range = from || to ? resolveRange(from, to, nowMs) : allTime(nowMs);
    const trace = await this.answers.get(
      scope,
      { kind: 'trace', name: trace_id, from, to, max_age, range, question: {} },
      nowMs,
      (anyone) => readTrace(scope, this.clickhouse, trace_id, range, anyone),
      signal,
    );
    if (!trace.meta.partial) return trace;
    const reading = new TraceReading(scope, this.clickhouse, trace_id, range, signal);
    reading.take(trace.spans);
    return new StreamableFile(Readable.from(traceJson(trace, reading)), { type: JSON_TYPE });
  }
}

const JSON_TYPE = 'application/json; charset=utf-8';
