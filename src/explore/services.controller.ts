import { Controller, Get, Inject, Query } from '@nestjs/common';
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
