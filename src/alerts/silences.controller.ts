import { randomUUID } from 'node:crypto';
import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Post, Query } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { CurrentScope } from '../edge/current-scope.js';
import { Requires } from '../edge/scope.guard.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import { ApiRoute } from '../http/api-route.js';
import { parseBody, parseQuery, type RawQuery } from '../http/request.schema.js';
import {
  ask,
  byAge,
  Changes,
  CurrentDoing,
  type Doing,
  type List,
  listRows,
  readOne,
} from '../tenants/rows.js';
import { type SilenceShown, silenceAnswer, silenceBody, silencesQuery } from './alerts.schema.js';

/** The same as `isActive`, in SQL. */
const ACTIVE = `(starts_at <= now() AND CASE WHEN repeats IS NULL THEN ends_at > now()
  ELSE (until IS NULL OR until > now()) AND
    mod(extract(epoch FROM now() - starts_at)::numeric, CASE repeats WHEN 'daily' THEN 86400 ELSE 604800 END)
      < extract(epoch FROM ends_at - starts_at) END)`;
const COLUMNS = `alert_silences.id, matchers, comment, starts_at, ends_at, repeats, until, ${ACTIVE} AS active, created_by, created_at`;
const PERIOD_MS = { daily: 86_400_000, weekly: 7 * 86_400_000 };

/** When and for what nobody is told; incidents begin and end all the same. */
@Requires('write')
@Controller('api/v1/alerts/silences')
export class SilencesController {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(Changes) private readonly changes: Changes,
  ) {}

  @ApiRoute({
    summary: 'List silences and maintenance windows',
    query: silencesQuery,
    list: silenceAnswer,
  })
  @Requires('read')
  @Get()
  list(@CurrentScope() scope: Scope, @Query() raw: RawQuery) {
    const { active, attributes, ...page } = parseQuery(silencesQuery, raw);
    const list: List = {
      name: 'alert-silences',
      filters: { active },
      columns: COLUMNS,
      from: 'alert_silences',
      where: `tenant_id = $1 AND ($2::boolean IS NULL OR ${ACTIVE} = $2)`,
      parameters: [scope.tenantId, active === undefined ? null : active === 'true'],
      sortedBy: byAge('alert_silences'),
      newestFirst: true,
    };
    return listRows<SilenceShown>(scope, this.source, () => list, page);
  }

  @ApiRoute({ summary: 'Read a silence', response: silenceAnswer })
  @Requires('read')
  @Get(':id')
  async read(@CurrentScope() scope: Scope, @Param('id') id: string): Promise<SilenceShown> {
    const sql = `SELECT ${COLUMNS} FROM alert_silences WHERE tenant_id = $1 AND id = $2`;
    return readOne(this.source, 'silence', id, sql, [scope.tenantId]);
  }

  @ApiRoute({
    summary: 'Silence alerts for a time',
    description:
      'With `repeats` it is a maintenance window. Incidents that begin meanwhile are told when it ends, if they still fire.',
    body: silenceBody,
    response: silenceAnswer,
  })
  @Post()
  async create(@CurrentDoing() doing: Doing, @Body() body: unknown): Promise<SilenceShown> {
    const given = parseBody(silenceBody, body);
    const { scope, id: createdBy } = doing.principal;
    const startsMs = given.starts_at === undefined ? Date.now() : Date.parse(given.starts_at);
    const lengthMs = Date.parse(given.ends_at) - startsMs;
    const repeats = given.repeats ?? null;
    if (lengthMs <= 0) throw wrong('ends_at', given.ends_at, 'after starts_at');
    if (repeats && lengthMs > PERIOD_MS[repeats])
      throw wrong(
        'ends_at',
        given.ends_at,
        `not later than one ${repeats === 'daily' ? 'day' : 'week'} after starts_at`,
      );
    if (given.until && !repeats) throw wrong('until', given.until, 'left out without repeats');
    const id = randomUUID();
    const { matchers, comment, until = null } = given;
    await this.changes.run(doing, async (manager, note) => {
      await ask(
        manager,
        `INSERT INTO alert_silences (id, tenant_id, comment, matchers, starts_at, ends_at, repeats, until, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
        [
          ...[id, scope.tenantId, comment, JSON.stringify(matchers), new Date(startsMs), given.ends_at],
          ...[repeats, until, createdBy],
        ],
      );
      await note({ ...noteOf(scope, id, comment, 'create'), details: { after: given } });
    });
    return this.read(scope, id);
  }

  @ApiRoute({ summary: 'End a silence', status: 204 })
  @Delete(':id')
  @HttpCode(204)
  async remove(@CurrentDoing() doing: Doing, @Param('id') id: string): Promise<void> {
    const { scope } = doing.principal;
    const before = await this.read(scope, id);
    await this.changes.run(doing, async (manager, note) => {
      await ask(manager, 'DELETE FROM alert_silences WHERE tenant_id = $1 AND id = $2', [scope.tenantId, id]);
      const { matchers, ends_at } = before;
      await note({
        ...noteOf(scope, id, before.comment, 'delete'),
        details: { before: { matchers, ends_at } },
      });
    });
  }
}

const wrong = (field: string, given: unknown, allowed: string) =>
  new AppError('INVALID_ARGUMENT', `Bad body: ${field} must be ${allowed}.`, {
    details: [{ field, given, allowed }],
  });

function noteOf({ organizationId, tenantId }: Scope, id: string, name: string, verb: string) {
  const target = { kind: 'alert_silence', id, name: name.slice(0, 200) };
  return { action: `alert_silence.${verb}`, organizationId, tenantId, target };
}
