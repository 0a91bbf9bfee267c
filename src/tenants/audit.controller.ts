import { Controller, Get, Inject, Query } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { z } from 'zod';
import { CurrentPrincipal } from '../edge/current-scope.js';
import type { Principal } from '../edge/principal.js';
import { Requires } from '../edge/scope.guard.js';
import { ApiRoute } from '../http/api-route.js';
import {
  about,
  oneOf,
  PRINTABLE,
  pageFields,
  parseQuery,
  type RawQuery,
  text,
  timeFields,
} from '../http/request.schema.js';
import { resolveRange, type TimeRange } from '../http/time.js';
import type { PageRequest } from '../store/page.js';
import { auditEvent } from './answers.schema.js';
import { type List, listRows } from './rows.js';

const MAX_FILTER = 256;
const exact = (what: string) =>
  text(
    (given) => (given !== '' && given.length <= MAX_FILTER && PRINTABLE.test(given) ? given : undefined),
    what,
  );

export const auditQuery = z.object({
  action: exact('what was done, e.g. api_key.create').optional(),
  actor: exact('id or name of who did it').optional(),
  target: exact('a kind of thing, or kind/id, e.g. api_key or user/<id>').optional(),
  result: about('How it ended', oneOf('ok', 'refused', 'failed')).optional(),
  ...timeFields,
  ...pageFields,
});

type Filters = Pick<z.output<typeof auditQuery>, 'action' | 'actor' | 'target' | 'result'>;

const COLUMNS = `audit_log.id::float8 AS id, at, tenant_id, actor_kind, actor_id, actor_name, action, target_kind, target_id, target_name,
  remote_address, correlation_id, result, details`;
/** Events carry PostgreSQL's time, which may be a little ahead of this process's. */
const CLOCKS_APART_NS = 3_600_000_000_000n;

/** Who did what. A user sees its organization's record, a key that of its tenant. */
@Requires('admin')
@Controller('api/v1/audit')
export class AuditController {
  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  @ApiRoute({
    summary: 'Read the record of what was done and refused, the newest first',
    description: 'A login sees that of its organization, a key that of its tenant.',
    query: auditQuery,
    list: auditEvent,
  })
  @Get()
  list(@CurrentPrincipal() principal: Principal, @Query() raw: RawQuery) {
    const { from, to, page, limit, cursor, attributes, ...filters } = parseQuery(auditQuery, raw);
    const range = resolveRange(from, to, Date.now());
    if (!to) range.toNs += CLOCKS_APART_NS;
    return listEvents(principal, this.source, filters, { page, limit, cursor }, range);
  }
}

function listEvents(
  principal: Principal,
  source: DataSource,
  filters: Filters,
  page: PageRequest,
  range: TimeRange,
) {
  const listFor = (range: TimeRange): List => ({
    ...matching(principal, filters, range),
    name: 'audit',
    filters,
    columns: COLUMNS,
    from: 'audit_log',
    sortedBy: [{ sql: 'audit_log.id', type: 'bigint', letter: 'i' }],
    newestFirst: true,
  });
  return listRows(principal.scope, source, listFor, page, range);
}

function matching({ kind, scope }: Principal, filters: Filters, range: TimeRange) {
  const parameters: unknown[] = [scope.organizationId];
  const bind = (value: unknown) => `$${parameters.push(value)}`;
  const time = (unixNano: bigint) => `to_timestamp(${bind(String(unixNano / 1000n))}::bigint / 1000000.0)`;
  const where = [`organization_id = $1 AND at >= ${time(range.fromNs)} AND at < ${time(range.toNs)}`];
  if (kind !== 'user') where.push(`tenant_id = ${bind(scope.tenantId)}`);
  if (filters.action) where.push(`action = ${bind(filters.action)}`);
  if (filters.actor) where.push(`${bind(filters.actor)} IN (actor_id, actor_name)`);
  if (filters.result) where.push(`result = ${bind(filters.result)}`);
  if (filters.target) {
    const slash = `${filters.target}/`.indexOf('/');
    const id = filters.target.slice(slash + 1);
    where.push(`target_kind = ${bind(filters.target.slice(0, slash))}`);
    if (id) where.push(`target_id = ${bind(id)}`);
  }
  return { where: where.join(' AND '), parameters };
}
