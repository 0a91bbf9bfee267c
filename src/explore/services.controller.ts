import { Controller, Get, Inject, Query } from '@nestjs/common';
import { ClickHouse } from '../connections/clickhouse.js';
import { ApiRoute } from '../edge/api-route.js';
import { CurrentScope } from '../edge/current-scope.js';
import { parseQuery, type RawQuery } from '../edge/request.schema.js';
import { Requires } from '../edge/scope.guard.js';
import type { Scope } from '../edge/scope.js';
import { resolveRange } from '../edge/time.js';
import { listServices } from '../store/services.js';
import { service } from './answers.schema.js';
import { CallerSignal } from './caller-signal.js';
import { servicesQuery } from './services.schema.js';

@Requires('read')
@Controller('api/v1/services')
export class ServicesController {
  constructor(@Inject(ClickHouse) private readonly clickhouse: ClickHouse) {}

  @ApiRoute({
    summary: 'List services, by what they sent',
    query: servicesQuery,
    list: service,
    errors: ['QUERY_TOO_EXPENSIVE'],
  })
  @Get()
  list(@CurrentScope() scope: Scope, @Query() raw: RawQuery, @CallerSignal() signal: AbortSignal) {
    const { from, to, ...query } = parseQuery(servicesQuery, raw);
    return listServices(scope, this.clickhouse, resolveRange(from, to, Date.now()), query, signal);
  }
}
