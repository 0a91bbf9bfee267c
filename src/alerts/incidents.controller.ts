import { Controller, Get, HttpCode, Inject, Param, Post, Query } from '@nestjs/common';
import type { Logger } from 'pino';
import { DataSource, type EntityManager } from 'typeorm';
import { CurrentScope } from '../edge/current-scope.js';
import { Requires } from '../edge/scope.guard.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import { ApiRoute } from '../http/api-route.js';
import { parseQuery, type RawQuery } from '../http/request.schema.js';
import { allTime, resolveRange, type TimeExpression, type TimeRange } from '../http/time.js';
import { JOB_QUEUES, type JobQueues } from '../jobs/job-queue.js';
import { LOGGER } from '../log.js';
import { outcomesOf } from '../notices/deliveries.js';
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
import {
  type Incident,
  type IncidentEvent,
  incidentAnswer,
  incidentsQuery,
  incidentWithTimeline,
} from './alerts.schema.js';
import { deliver, endIncidents, placeOf } from './evaluation-rows.js';
import { addJobs } from './evaluator.js';
import { addEvents } from './incident-rows.js';
import { acknowledgedNotice } from './notice-of.js';
import { type LoadedRule, loadForChange, writeGroups } from './rule-states.js';

const STATE = `CASE WHEN resolved_at IS NOT NULL THEN 'resolved' WHEN acknowledged_at IS NOT NULL THEN 'acknowledged' ELSE 'open' END`;
const COLUMNS = `alert_incidents.id, number::double precision AS number, ${STATE} AS state, rule_id, rule_name, severity, labels, value, operator,
  threshold, summary, created_at AS started_at, updated_at, gone_since, acknowledged_at, acknowledged_by, resolved_at, resolved_by`;
const MAX_EVENTS = 1000;

type EventRow = Omit<IncidentEvent, 'outcome' | 'channels'>;

/** What fires, and what has fired. */
@Requires('write')
@Controller('api/v1/alerts/incidents')
export class IncidentsController {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(Changes) private readonly changes: Changes,
    @Inject(JOB_QUEUES) private readonly queues: JobQueues,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  @ApiRoute({
    summary: 'List incidents, the newest first',
    description: 'Those that ended more than 90 days ago are forgotten.',
    query: incidentsQuery,
    list: incidentAnswer,
  })
  @Requires('read')
  @Get()
  list(@CurrentScope() scope: Scope, @Query() raw: RawQuery) {
    const { from, to, state, severity, rule_id, label, attributes, ...page } = parseQuery(
      incidentsQuery,
      raw,
    );
    const listFor = (range: TimeRange): List => ({
      name: 'alert-incidents',
      filters: { state, severity, rule_id, label },
      columns: COLUMNS,
      from: 'alert_incidents',
      where: `tenant_id = $1 AND ($2::text IS NULL OR ${STATE} = $2) AND ($3::text IS NULL OR severity = $3)
        AND ($4::uuid IS NULL OR rule_id = $4) AND ($5::text IS NULL OR labels ->> $5 = $6)
        AND created_at >= to_timestamp($7::double precision) AND created_at < to_timestamp($8::double precision)`,
      parameters: [
        ...[scope.tenantId, state ?? null, severity ?? null, rule_id ?? null, label?.name ?? null],
        ...[label?.value ?? null, Number(range.fromNs) / 1e9, Number(range.toNs) / 1e9],
      ],
      sortedBy: byAge('alert_incidents'),
      newestFirst: true,
    });
    return listRows<Incident>(scope, this.source, listFor, page, rangeOf(from, to, Date.now()));
  }

  @ApiRoute({ summary: 'Read an incident with its timeline', response: incidentWithTimeline })
  @Requires('read')
  @Get(':id')
  async read(@CurrentScope() scope: Scope, @Param('id') id: string) {
    const incident = await readIncident(scope, this.source, id);
    return { ...incident, timeline: await this.timeline(scope, id) };
  }

  @ApiRoute({
    summary: 'Acknowledge an incident',
    description: 'Somebody has it: nobody is reminded any more. Those who were told that it fires are told.',
    response: incidentAnswer,
    status: 200,
    errors: ['CONFLICT'],
  })
  @Post(':id/acknowledge')
  @HttpCode(200)
  acknowledge(@CurrentDoing() doing: Doing, @Param('id') id: string): Promise<Incident> {
    const { id: by, scope } = doing.principal;
    return this.change(doing, id, 'acknowledge', async (manager, incident, rule) => {
      if (incident.state === 'acknowledged') return [];
      const sql = `UPDATE alert_incidents SET acknowledged_at = now(), acknowledged_by = $3, updated_at = now()
        WHERE tenant_id = $1 AND id = $2`;
      await ask(manager, sql, [scope.tenantId, id, by]);
      const nowMs = Date.now();
      const at = new Date(nowMs).toISOString();
      await addEvents(manager, [{ incident_id: id, at, kind: 'acknowledged', done_by: by }]);
      const [key, record] = rule ? findGroup(rule, id) : [];
      if (!rule || !key || !record) return [];
      rule.groups.set(key, { ...record, acknowledged: true });
      await writeGroups(manager, rule.id, rule.groups);
      if (record.toldLevel === null) return [];
      const place = await placeOf(scope, manager);
      return deliver(scope, manager, rule, [acknowledgedNotice(place, rule, key, record, nowMs)]);
    });
  }

  @ApiRoute({
    summary: 'End an incident by hand',
    description: 'What still holds makes a new one, after `for`; whoever was told is told that it is over.',
    response: incidentAnswer,
    status: 200,
    errors: ['CONFLICT'],
  })
  @Post(':id/resolve')
  @HttpCode(200)
  resolve(@CurrentDoing() doing: Doing, @Param('id') id: string): Promise<Incident> {
    const { id: by, scope } = doing.principal;
    return this.change(doing, id, 'resolve', async (manager, _, rule) => {
      const [key] = rule ? findGroup(rule, id) : [];
      if (rule && key) return endIncidents(scope, manager, rule, [key], by, Date.now());
      const sql = `UPDATE alert_incidents SET resolved_at = now(), resolved_by = $3, updated_at = now()
        WHERE tenant_id = $1 AND id = $2`;
      await ask(manager, sql, [scope.tenantId, id, by]);
      const at = new Date().toISOString();
      await addEvents(manager, [{ incident_id: id, at, kind: 'resolved', done_by: by }]);
      return [];
    });
  }

  /** @param work returns ids of deliveries; nobody else writes the incident or its rule's state meanwhile */
  private async change(
    doing: Doing,
    id: string,
    verb: 'acknowledge' | 'resolve',
    work: (manager: EntityManager, incident: Incident, rule: LoadedRule | undefined) => Promise<string[]>,
  ): Promise<Incident> {
    const { scope } = doing.principal;
    const { incident, deliveryIds } = await this.changes.run(doing, async (manager, note) => {
      const { rule_id } = await readIncident(scope, manager, id);
      // The rule first, as an evaluation does: each may wait for the other, but not both.
      const rule = await loadForChange(scope, manager, rule_id);
      const before = await readIncident(scope, manager, id);
      if (before.state === 'resolved') throw new AppError('CONFLICT', 'This incident is over already.');
      const ids = await work(manager, before, rule);
      const { organizationId, tenantId } = scope;
      const target = { kind: 'alert_incident', id, name: `${before.rule_name} #${before.number}` };
      await note({ action: `alert_incident.${verb}`, organizationId, tenantId, target, details: {} });
      return { incident: await readIncident(scope, manager, id), deliveryIds: ids };
    });
    await addJobs({ queues: this.queues, log: this.log }, deliveryIds);
    return incident;
  }

  private async timeline(scope: Scope, id: string): Promise<IncidentEvent[]> {
    const rows = await ask<EventRow>(
      this.source,
      `SELECT at, kind, severity, value, notice_id, notice_kind, done_by FROM (
         SELECT * FROM alert_incident_events WHERE incident_id = $1 ORDER BY id DESC LIMIT ${MAX_EVENTS}
       ) AS latest ORDER BY id`,
      [id],
    );
    const noticeIds = rows.flatMap(({ notice_id }) => notice_id ?? []);
    const outcomes = noticeIds.length > 0 ? await outcomesOf(scope, this.source, noticeIds) : new Map();
    return rows.map((row) => {
      const told = outcomes.get(row.notice_id ?? '');
      const outcome = row.notice_id === null ? null : (told?.outcome ?? 'none');
      return { ...row, outcome, channels: told?.channels ?? [] };
    });
  }
}

async function readIncident(scope: Scope, source: DataSource | EntityManager, id: string): Promise<Incident> {
  const sql = `SELECT ${COLUMNS} FROM alert_incidents WHERE tenant_id = $1 AND id = $2`;
  return readOne(source, 'incident', id, sql, [scope.tenantId]);
}

function findGroup({ groups }: LoadedRule, incidentId: string) {
  return [...groups].find(([, record]) => record.incidentId === incidentId) ?? [];
}

/** Without a time range all that is kept. */
function rangeOf(from: TimeExpression | undefined, to: TimeExpression | undefined, nowMs: number): TimeRange {
  const all = allTime(nowMs);
  if (!from && !to) return all;
  return resolveRange(from ?? { unixNano: 0n }, to, nowMs);
}
