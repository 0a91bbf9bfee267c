import { randomUUID } from 'node:crypto';
import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Patch, Post, Query } from '@nestjs/common';
import { DataSource, type EntityManager } from 'typeorm';
import { CacheService } from '../cache/cache.service.js';
import { keys } from '../cache/cache-key.js';
import { CacheProfile } from '../cache/cache-profile.js';
import { Cacheable } from '../cache/cacheable.js';
import { CurrentScope } from '../edge/current-scope.js';
import { Requires } from '../edge/scope.guard.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import { ApiRoute } from '../http/api-route.js';
import { parseBody, parseChange, parseQuery, type RawQuery } from '../http/request.schema.js';
import {
  ask,
  assertId,
  byAge,
  Changes,
  CurrentDoing,
  type Doing,
  differences,
  type List,
  listRows,
  readOne,
} from '../tenants/rows.js';
import {
  checkPanels,
  type Dashboard,
  dashboardAnswer,
  dashboardBody,
  dashboardChange,
  dashboardsQuery,
  type PanelQuestions,
} from './dashboard.schema.js';

/** Injected: what panels may ask. */
export const PANEL_QUESTIONS = Symbol('PANEL_QUESTIONS');

const ISO = `'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'`;
const COLUMNS = `dashboards.id, name, description, time_range, refresh_seconds, panels, version, created_by,
  to_char(created_at AT TIME ZONE 'UTC', ${ISO}) AS created_at, to_char(updated_at AT TIME ZONE 'UTC', ${ISO}) AS updated_at`;

/** Dashboards of a tenant. What they show is asked of the routes that their panels name. */
@Requires('write')
@Controller('api/v1/dashboards')
export class DashboardsController {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(Changes) private readonly changes: Changes,
    @Inject(CacheService) readonly cache: CacheService,
    @Inject(PANEL_QUESTIONS) private readonly questions: PanelQuestions,
  ) {}

  @ApiRoute({ summary: 'List dashboards', query: dashboardsQuery, list: dashboardAnswer })
  @Requires('read')
  @Get()
  list(@CurrentScope() scope: Scope, @Query() raw: RawQuery) {
    const { name, attributes, ...page } = parseQuery(dashboardsQuery, raw);
    const list: List = {
      name: 'dashboards',
      filters: { name },
      columns: COLUMNS,
      from: 'dashboards',
      where: 'tenant_id = $1 AND ($2::text IS NULL OR position(lower($2) IN lower(name)) > 0)',
      parameters: [scope.tenantId, name ?? null],
      sortedBy: byAge('dashboards'),
    };
    return listRows<Dashboard>(scope, this.source, () => list, page);
  }

  @ApiRoute({ summary: 'Read a dashboard', response: dashboardAnswer })
  @Requires('read')
  @Get(':id')
  async read(@CurrentScope() scope: Scope, @Param('id') id: string): Promise<Dashboard> {
    assertId('dashboard', id);
    return this.kept(scope, id.toLowerCase());
  }

  /** Under the key that a change drops. */
  @Cacheable({ keyPrefix: 'dashboard', ttlProfile: CacheProfile.LONG })
  private kept(scope: Scope, id: string): Promise<Dashboard> {
    return readRow(scope, this.source, id);
  }

  @ApiRoute({
    summary: 'Make a dashboard',
    description: 'The parameters of each panel are checked as those of the route that it asks.',
    body: dashboardBody,
    response: dashboardAnswer,
    errors: ['CONFLICT'],
  })
  @Post()
  create(@CurrentDoing() doing: Doing, @Body() body: unknown): Promise<Dashboard> {
    const given = parseBody(dashboardBody, body);
    checkPanels(given.panels, this.questions);
    const { name, description = '', time_range = 'now-1h', refresh_seconds = 30, panels } = given;
    const { scope, id: createdBy } = doing.principal;
    const id = randomUUID();
    return this.changes.run(doing, async (manager, note) => {
      await ask(
        manager,
        `INSERT INTO dashboards (id, tenant_id, name, description, time_range, refresh_seconds, panels, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
        [
          id,
          scope.tenantId,
          name,
          description,
          time_range,
          refresh_seconds,
          JSON.stringify(panels),
          createdBy,
        ],
      );
      const made = await readRow(scope, manager, id);
      await note({ ...noteOf(scope, made, 'create'), details: { after: contentOf(made) } });
      return made;
    });
  }

  @ApiRoute({
    summary: 'Change a dashboard',
    description: 'Panels are given as a whole.',
    body: dashboardChange,
    response: dashboardAnswer,
    errors: ['CONFLICT'],
  })
  @Patch(':id')
  async change(
    @CurrentDoing() doing: Doing,
    @Param('id') id: string,
    @Body() body: unknown,
  ): Promise<Dashboard> {
    const { version, ...given } = parseChange(dashboardChange, body);
    if (given.panels) checkPanels(given.panels, this.questions);
    const { scope } = doing.principal;
    const changed = await this.changes.run(doing, async (manager, note) => {
      const before = await readRow(scope, manager, id, true);
      if (version !== undefined && version !== before.version)
        throw changedMeanwhile(version, before.version);
      const changes = differences(contentOf(before), given);
      if (!changes) return before;
      const { name, description, time_range, refresh_seconds, panels } = { ...before, ...given };
      await ask(
        manager,
        `UPDATE dashboards SET name = $3, description = $4, time_range = $5, refresh_seconds = $6, panels = $7,
           version = version + 1, updated_at = now() WHERE tenant_id = $1 AND id = $2`,
        [scope.tenantId, id, name, description, time_range, refresh_seconds, JSON.stringify(panels)],
      );
      const after = await readRow(scope, manager, id);
      await note({ ...noteOf(scope, after, 'update'), details: { changes } });
      return after;
    });
    await this.cache.del(keys.dashboard(scope, changed.id));
    return changed;
  }

  @ApiRoute({ summary: 'Delete a dashboard', status: 204 })
  @Delete(':id')
  @HttpCode(204)
  async remove(@CurrentDoing() doing: Doing, @Param('id') id: string): Promise<void> {
    const { scope } = doing.principal;
    const removed = await this.changes.run(doing, async (manager, note) => {
      const before = await readRow(scope, manager, id, true);
      await ask(manager, 'DELETE FROM dashboards WHERE tenant_id = $1 AND id = $2', [scope.tenantId, id]);
      await note({ ...noteOf(scope, before, 'delete'), details: { before: contentOf(before) } });
      return before;
    });
    await this.cache.del(keys.dashboard(scope, removed.id));
  }
}

/** @throws AppError NOT_FOUND */
async function readRow(
  { tenantId }: Scope,
  source: DataSource | EntityManager,
  id: string,
  isToBeChanged = false,
): Promise<Dashboard> {
  const sql = `SELECT ${COLUMNS} FROM dashboards WHERE tenant_id = $1 AND id = $2 ${isToBeChanged ? 'FOR UPDATE' : ''}`;
  return readOne(source, 'dashboard', id, sql, [tenantId]);
}

const changedMeanwhile = (given: number, current: number) =>
  new AppError('CONFLICT', `The dashboard was changed meanwhile: it has version ${current}.`, {
    details: [{ field: 'version', given, allowed: `${current}, after reading it again` }],
  });

/** What of a dashboard a record of its change shows. */
const contentOf = ({ name, description, time_range, refresh_seconds, panels }: Dashboard) => ({
  name,
  description,
  time_range,
  refresh_seconds,
  panels,
});

function noteOf({ organizationId, tenantId }: Scope, { id, name }: Dashboard, verb: string) {
  return { action: `dashboard.${verb}`, organizationId, tenantId, target: { kind: 'dashboard', id, name } };
}
