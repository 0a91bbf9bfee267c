import { Controller, Get, Inject, Query, UseInterceptors } from '@nestjs/common';
import { Answers } from '../answers/answers.js';
import { ClickHouse } from '../connections/clickhouse.js';
import { CurrentScope } from '../edge/current-scope.js';
import { Requires } from '../edge/scope.guard.js';
import type { Scope } from '../edge/scope.js';
import { ApiRoute } from '../http/api-route.js';
import { CallerSignal } from '../http/caller-signal.js';
import { parseQuery, type RawQuery } from '../http/request.schema.js';
import { resolveRange, type TimeExpression, type TimeRange } from '../http/time.js';
import { followOperations, listOperations } from '../store/operations.js';
import { readServiceMap } from '../store/service-map.js';
import { listServices } from '../store/services.js';
import { stepBegin } from '../store/windows.js';
import { service } from './answers.schema.js';
import { ExplainInterceptor } from './explain.interceptor.js';
import { stepFor } from './metrics.schema.js';
import {
  operation,
  operationSeriesQuery,
  operationsQuery,
  redSeries,
  serviceMap,
  serviceMapQuery,
  servicesQuery,
} from './services.schema.js';

@Requires('read')
@UseInterceptors(ExplainInterceptor)
@Controller('api/v1')
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
  @Get('services')
  list(@CurrentScope() scope: Scope, @Query() raw: RawQuery, @CallerSignal() signal: AbortSignal) {
    const nowMs = Date.now();
    const { from, to, max_age, page, limit, cursor } = parseQuery(servicesQuery, raw);
    const range = wholeSteps(from, resolveRange(from, to, nowMs));
    const question = { page, limit, cursor };
    return this.answers.get(
      scope,
      { kind: 'services', name: 'list', from, to, max_age, range, question },
      nowMs,
      (anyone) => listServices(scope, this.clickhouse, range, question, anyone),
      signal,
    );
  }

  @ApiRoute({
    summary: 'List operations, or services, by rate, errors and duration',
    query: operationsQuery,
    list: operation,
    errors: ['QUERY_TOO_EXPENSIVE'],
  })
  @Get('operations')
  operations(@CurrentScope() scope: Scope, @Query() raw: RawQuery, @CallerSignal() signal: AbortSignal) {
    const nowMs = Date.now();
    const { from, to, max_age, page, limit, cursor, by, order, ...query } = parseQuery(operationsQuery, raw);
    const question = { ...spansOf(query), by, order };
    const place = { page, limit, cursor };
    const range = resolveRange(from, to, nowMs);
    return this.answers.get(
      scope,
      { kind: 'traces', name: 'operations', from, to, max_age, range, question: { ...question, ...place } },
      nowMs,
      (anyone) => listOperations(scope, this.clickhouse, question, range, place, anyone),
      signal,
    );
  }

  @ApiRoute({
    summary: 'Follow rate, errors and duration over time',
    description: 'Of all spans that match, together.',
    query: operationSeriesQuery,
    response: redSeries,
    errors: ['QUERY_TOO_EXPENSIVE'],
  })
  @Get('operations/series')
  series(@CurrentScope() scope: Scope, @Query() raw: RawQuery, @CallerSignal() signal: AbortSignal) {
    const nowMs = Date.now();
    const { from, to, max_age, step, ...query } = parseQuery(operationSeriesQuery, raw);
    const range = resolveRange(from, to, nowMs);
    const question = { ...spansOf(query), stepMs: stepFor(range, step) };
    return this.answers.get(
      scope,
      { kind: 'traces', name: 'operations-series', from, to, max_age, range, question },
      nowMs,
      (anyone) => followOperations(scope, this.clickhouse, question, range, anyone),
      signal,
    );
  }

  @ApiRoute({
    summary: 'Show which service calls which',
    description:
      'Databases, messaging systems and others that send no spans are nodes too, where the attributes of their callers name them.',
    query: serviceMapQuery,
    response: serviceMap,
    errors: ['QUERY_TOO_EXPENSIVE'],
  })
  @Get('service-map')
  map(@CurrentScope() scope: Scope, @Query() raw: RawQuery, @CallerSignal() signal: AbortSignal) {
    const nowMs = Date.now();
    const { from, to, max_age } = parseQuery(serviceMapQuery, raw);
    const range = resolveRange(from, to, nowMs);
    return this.answers.get(
      scope,
      { kind: 'traces', name: 'service-map', from, to, max_age, range, question: {} },
      nowMs,
      (anyone) => readServiceMap(scope, this.clickhouse, range, anyone),
      signal,
    );
  }
}

const spansOf = (query: { service: string[]; operation: string[]; kind: string[] }) => ({
  services: query.service,
  operations: query.operation,
  kinds: query.kind,
});

/**
 * Who asks for the last hour does not ask for it to the nanosecond: a range that was not said to begin at a point in time begins on full
 * five minutes, which the list of services has sums of. Otherwise what lies beside its begin would have to be counted, at several times the cost.
 */
function wholeSteps(from: TimeExpression | undefined, range: TimeRange): TimeRange {
  if (from !== undefined && 'unixNano' in from) return range;
  return { ...range, fromNs: stepBegin(range.fromNs) };
}
