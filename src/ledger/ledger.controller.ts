import { Controller, Get, Inject, Query, Req } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { CurrentScope } from '../edge/current-scope.js';
import { Requires } from '../edge/scope.guard.js';
import type { Scope } from '../edge/scope.js';
import { ApiRoute } from '../http/api-route.js';
import { parseQuery, type RawQuery } from '../http/request.schema.js';
import { resolveRange } from '../http/time.js';
import { Ledger } from './ledger.js';
import { ledgerAnswer, ledgerQuery } from './ledger.schema.js';

/** Where each item of the tenant is. */
@Requires('read')
@Controller('api/v1/ledger')
export class LedgerController {
  constructor(@Inject(Ledger) private readonly ledger: Ledger) {}

  @ApiRoute({
    summary: 'Read where the items are that were received',
    description:
      'By the time of their receipt, in whole minutes: `from` and `to` of the answer say which. ' +
      'received = stored + rejected + waiting + failed + expired + dropped. Requests that were refused to be sent again ' +
      '(429, 503) and bodies that came twice are not in it.',
    query: ledgerQuery,
    response: ledgerAnswer,
    errors: ['QUERY_TOO_EXPENSIVE'],
  })
  @Get()
  async read(
    @CurrentScope() scope: Scope,
    @Query() raw: RawQuery,
    @Req() { raw: { socket } }: FastifyRequest,
  ) {
    const { from, to, signal } = parseQuery(ledgerQuery, raw);
    const range = resolveRange(from, to, Date.now());
    const caller = new AbortController();
    const hangUp = () => caller.abort();
    socket.once('close', hangUp);
    try {
      const { fromMs, toMs, data, meta } = await this.ledger.read(scope, range, caller.signal);
      const asked = data.filter((one) => signal === undefined || one.signal === signal);
      return {
        from: new Date(fromMs).toISOString(),
        to: new Date(toMs).toISOString(),
        balanced: asked.every(({ balanced }) => balanced),
        data: asked,
        meta,
      };
    } finally {
      socket.off('close', hangUp);
    }
  }
}
