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
import { listMetricNames } from '../series/metric-names.js';
import { listMetricPoints } from '../series/metric-points.js';
import { queryMetric } from '../series/metric-series.js';
import { metricName, metricPoint, seriesAnswer } from './answers.schema.js';
import { ExplainInterceptor } from './explain.interceptor.js';
import {
  METRIC_PREFIXES,
  metricNamesQuery,
  metricPointsQuery,
  metricQuery,
  stepFor,
} from './metrics.schema.js';

@Requires('read')
@UseInterceptors(ExplainInterceptor)
@Controller('api/v1/metrics')
export class MetricsController {
  constructor(
    @Inject(ClickHouse) private readonly clickhouse: ClickHouse,
    @Inject(Answers) private readonly answers: Answers,
  ) {}

  /** Names, for autocomplete. */
  @ApiRoute({
    summary: 'List names of metrics',
    query: metricNamesQuery,
    list: metricName,
    errors: ['QUERY_TOO_EXPENSIVE'],
  })
  @Get()
  names(@CurrentScope() scope: Scope, @Query() raw: RawQuery, @CallerSignal() signal: AbortSignal) {
    const nowMs = Date.now();
    const { from, to, max_age, page, limit, cursor, ...query } = parseQuery(metricNamesQuery, raw);
    const question = { services: query.service, prefix: query.prefix };
    const place = { page, limit, cursor };
    const range = resolveRange(from, to, nowMs);
    return this.answers.get(
      scope,
      { kind: 'metrics', name: 'names', from, to, max_age, range, question: { ...question, ...place } },
      nowMs,
      (anyone) => listMetricNames(scope, this.clickhouse, question, range, place, anyone),
      signal,
    );
  }

  /** A metric over time. */
  @ApiRoute({
    summary: 'Follow a metric over time',
    query: metricQuery,
    attributes: METRIC_PREFIXES,
    response: seriesAnswer,
    errors: ['QUERY_TOO_EXPENSIVE'],
  })
  @Get('query')
  query(@CurrentScope() scope: Scope, @Query() raw: RawQuery, @CallerSignal() signal: AbortSignal) {
    const nowMs = Date.now();
    const { from, to, max_age, metric, agg, ...query } = parseQuery(metricQuery, raw, METRIC_PREFIXES);
    const range = resolveRange(from, to, nowMs);
    const question = {
      metric,
      services: query.service,
      agg,
      stepMs: stepFor(range, query.step),
      groupBy: query.group_by,
      filters: query.attributes,
    };
    return this.answers.get(
      scope,
      { kind: 'metrics', name: 'query', from, to, max_age, range, question, stepMs: question.stepMs },
      nowMs,
      (anyone) => queryMetric(scope, this.clickhouse, question, range, anyone),
      signal,
    );
  }

  /** Data points as they were sent. */
  @ApiRoute({
    summary: 'Read data points as they were sent',
    query: metricPointsQuery,
    attributes: METRIC_PREFIXES,
    list: metricPoint,
    errors: ['QUERY_TOO_EXPENSIVE'],
  })
  @Get('points')
  points(@CurrentScope() scope: Scope, @Query() raw: RawQuery, @CallerSignal() signal: AbortSignal) {
    const nowMs = Date.now();
    const { from, to, max_age, page, limit, cursor, ...query } = parseQuery(
      metricPointsQuery,
      raw,
      METRIC_PREFIXES,
    );
    const { metric, service, attributes, order } = query;
    const question = { metric, services: service, attributes, order };
    const place = { page, limit, cursor };
    const range = resolveRange(from, to, nowMs);
    return this.answers.get(
      scope,
      { kind: 'metrics', name: 'points', from, to, max_age, range, question: { ...question, ...place } },
      nowMs,
      (anyone) => listMetricPoints(scope, this.clickhouse, question, range, place, anyone),
      signal,
    );
  }
}
