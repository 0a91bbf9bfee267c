import { randomUUID } from 'node:crypto';
import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Patch, Post, Query } from '@nestjs/common';
import type { Logger } from 'pino';
import { DataSource, type EntityManager } from 'typeorm';
import { ClickHouse } from '../connections/clickhouse.js';
import { CurrentScope } from '../edge/current-scope.js';
import { Requires } from '../edge/scope.guard.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import { ApiRoute } from '../http/api-route.js';
import { CallerSignal } from '../http/caller-signal.js';
import { parseBody, parseQuery, type RawQuery } from '../http/request.schema.js';
import { JOB_QUEUES, type JobQueues } from '../jobs/job-queue.js';
import { LOGGER } from '../log.js';
import { unknownChannels } from '../notices/own-channels.js';
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
  notFound,
  readOne,
} from '../tenants/rows.js';
import {
  backtestAnswer,
  describedTest,
  type Rule,
  ruleAnswer,
  rulesQuery,
  testBody,
  testRuleBody,
} from './alerts.schema.js';
import { backtest } from './backtest.js';
import { endRule } from './evaluation-rows.js';
import { addJobs } from './evaluator.js';
import { Measuring } from './measure.js';
import { durationMs, parseRule, questionOf, type RuleDefinition, ruleBody } from './rule.schema.js';
import { forgetState, loadForChange, loadRule, writeGroups } from './rule-states.js';
import { offsetOf } from './scheduler.js';

/** Longer than the scheduler lets a rule wait where it is one of too many. */
const OVERDUE = `enabled AND NOT paused AND
  extract(epoch FROM now()) * 1000 - greatest(tick, extract(epoch FROM updated_at) * 1000) > 2 * interval_ms + 60000`;
const COLUMNS = `alert_rules.id, definition, created_by, alert_rules.created_at, updated_at,
  jsonb_build_object('status', status, 'firing', firing, 'pending', pending, 'error', error, 'overdue', ${OVERDUE}) AS state, evaluated_at`;
const FROM = 'alert_rules JOIN alert_rule_states ON rule_id = alert_rules.id';
const HOUR_MS = 3_600_000;

interface Row extends Omit<Rule, keyof RuleDefinition> {
  definition: RuleDefinition;
  evaluated_at: Date | null;
}

/** When something is wrong: what is measured, when it fires, who is told. */
@Requires('write')
@Controller('api/v1/alerts/rules')
export class AlertRulesController {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(Changes) private readonly changes: Changes,
    @Inject(ClickHouse) private readonly clickhouse: ClickHouse,
    @Inject(JOB_QUEUES) private readonly queues: JobQueues,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  @ApiRoute({ summary: 'List alert rules', query: rulesQuery, list: ruleAnswer })
  @Requires('read')
  @Get()
  async list(@CurrentScope() scope: Scope, @Query() raw: RawQuery) {
    const { status, name, attributes, ...page } = parseQuery(rulesQuery, raw);
    const list: List = {
      name: 'alert-rules',
      filters: { status, name },
      columns: COLUMNS,
      from: FROM,
      where: `tenant_id = $1 AND ($2::text IS NULL OR status = $2)
        AND ($3::text IS NULL OR strpos(lower(name), lower($3)) > 0)`,
      parameters: [scope.tenantId, status ?? null, name ?? null],
      sortedBy: byAge('alert_rules'),
    };
    const found = await listRows<Row>(scope, this.source, () => list, page);
    return { ...found, data: found.data.map(shown) };
  }

  @ApiRoute({ summary: 'Read an alert rule', response: ruleAnswer })
  @Requires('read')
  @Get(':id')
  async read(@CurrentScope() scope: Scope, @Param('id') id: string): Promise<Rule> {
    return readRule(scope, this.source, id);
  }

  @ApiRoute({ summary: 'Make an alert rule', body: ruleBody, response: ruleAnswer, errors: ['CONFLICT'] })
  @Post()
  create(@CurrentDoing() doing: Doing, @Body() body: unknown): Promise<Rule> {
    const definition = parseRule(body);
    const { scope, id: createdBy } = doing.principal;
    const id = randomUUID();
    return this.changes.run(doing, async (manager, note) => {
      await assertChannels(scope, manager, definition);
      await ask(
        manager,
        `INSERT INTO alert_rules (id, tenant_id, created_by, name, enabled, paused, definition, interval_ms, offset_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
        [id, scope.tenantId, createdBy, ...columnsOf(scope, definition)],
      );
      await ask(manager, 'INSERT INTO alert_rule_states (rule_id) VALUES ($1)', [id]);
      await note({ ...noteOf(scope, id, definition, 'create'), details: { after: definition } });
      return readRule(scope, manager, id);
    });
  }

  @ApiRoute({
    summary: 'Change an alert rule',
    description:
      'What is not given stays as it was. When what it asks changes, or it is turned off, its incidents end and it begins anew.',
    body: ruleBody.partial(),
    response: ruleAnswer,
    errors: ['CONFLICT'],
  })
  @Patch(':id')
  async change(@CurrentDoing() doing: Doing, @Param('id') id: string, @Body() body: unknown): Promise<Rule> {
    assertId('alert rule', id);
    if (typeof body !== 'object' || body === null || Object.keys(body).length === 0)
      throw new AppError(
        'INVALID_ARGUMENT',
        'There is nothing to change: give at least one field of a rule.',
      );
    const { scope } = doing.principal;
    const { rule, deliveryIds } = await this.changes.run(doing, async (manager, note) => {
      const before = await loadForChange(scope, manager, id);
      if (!before) throw notFound('alert rule');
      const definition = parseRule({ ...before.definition, ...body });
      // One that was deleted since keeps nobody from changing the rest.
      if ('channels' in body) await assertChannels(scope, manager, definition);
      await ask(
        manager,
        `UPDATE alert_rules SET name = $3, enabled = $4, paused = $5, definition = $6, interval_ms = $7, offset_ms = $8,
           updated_at = now() WHERE id = $1 AND tenant_id = $2`,
        [id, scope.tenantId, ...columnsOf(scope, definition)],
      );
      const isNew = questionOf(definition) !== questionOf(before.definition);
      const ends = isNew || !definition.enabled;
      const ended = ends ? await endRule(scope, manager, before, Date.now()) : [];
      // An evaluation under way is of the rule as it was, and begins again.
      if (ends) await forgetState(manager, id);
      else await writeGroups(manager, id, before.groups);
      const changes = differences(before.definition, definition) ?? {};
      if (Object.keys(changes).length > 0)
        await note({ ...noteOf(scope, id, definition, 'update'), details: { changes } });
      return { rule: await readRule(scope, manager, id), deliveryIds: ended };
    });
    await addJobs({ queues: this.queues, log: this.log }, deliveryIds);
    return rule;
  }

  @ApiRoute({
    summary: 'Delete an alert rule',
    description: 'Its incidents end, and stay listed.',
    status: 204,
  })
  @Delete(':id')
  @HttpCode(204)
  async remove(@CurrentDoing() doing: Doing, @Param('id') id: string): Promise<void> {
    assertId('alert rule', id);
    const { scope } = doing.principal;
    const deliveryIds = await this.changes.run(doing, async (manager, note) => {
      const before = await loadForChange(scope, manager, id);
      if (!before) throw notFound('alert rule');
      const ended = await endRule(scope, manager, before, Date.now());
      await ask(manager, 'DELETE FROM alert_rules WHERE tenant_id = $1 AND id = $2', [scope.tenantId, id]);
      const details = { before: before.definition };
      await note({ ...noteOf(scope, id, before.definition, 'delete'), details });
      return ended;
    });
    await addJobs({ queues: this.queues, log: this.log }, deliveryIds);
  }

  @ApiRoute({
    summary: 'Test a rule before it is saved',
    description:
      'What it would have done over the last hours: points, state changes, how often it would have fired and for how long, and the same for other values of `for`. Nobody is told.',
    body: describedTest,
    response: backtestAnswer,
    status: 200,
    errors: ['QUERY_TOO_EXPENSIVE'],
  })
  @Requires('read')
  @Post('test')
  @HttpCode(200)
  testUnsaved(@CurrentScope() scope: Scope, @Body() body: unknown, @CallerSignal() signal: AbortSignal) {
    const { rule, hours } = parseBody(testRuleBody, body);
    return this.testOver(scope, parseRule(rule), hours, signal);
  }

  @ApiRoute({
    summary: 'Test a rule',
    description: 'What it would have done over the last hours. Nobody is told.',
    body: testBody,
    response: backtestAnswer,
    status: 200,
    errors: ['QUERY_TOO_EXPENSIVE'],
  })
  @Requires('read')
  @Post(':id/test')
  @HttpCode(200)
  async test(
    @CurrentScope() scope: Scope,
    @Param('id') id: string,
    @Body() body: unknown,
    @CallerSignal() signal: AbortSignal,
  ) {
    const { hours } = parseBody(testBody, body ?? {});
    assertId('alert rule', id);
    const rule = await loadRule(scope, this.source, id);
    if (!rule) throw notFound('alert rule');
    return this.testOver(scope, rule.definition, hours, signal);
  }

  private testOver(scope: Scope, rule: RuleDefinition, hours = 24, signal: AbortSignal) {
    const nowMs = Date.now();
    const measuring = new Measuring(this.clickhouse);
    return backtest(scope, measuring, rule, nowMs - hours * HOUR_MS, nowMs, signal);
  }
}

const shown = ({ definition, state, evaluated_at, ...row }: Row): Rule => ({
  ...row,
  ...definition,
  state: { ...state, evaluated_at },
});

async function readRule(scope: Scope, source: DataSource | EntityManager, id: string): Promise<Rule> {
  const sql = `SELECT ${COLUMNS} FROM ${FROM} WHERE tenant_id = $1 AND alert_rules.id = $2`;
  return shown(await readOne<Row>(source, 'alert rule', id, sql, [scope.tenantId]));
}

/** @throws AppError INVALID_ARGUMENT when a channel is not the tenant's */
async function assertChannels(
  scope: Scope,
  manager: EntityManager,
  { channels }: RuleDefinition,
): Promise<void> {
  const unknown = await unknownChannels(scope, manager, channels);
  if (unknown.length === 0) return;
  throw new AppError('INVALID_ARGUMENT', 'Bad body: channels must be ids of notification channels here.', {
    details: [{ field: 'channels', given: unknown.join(', '), allowed: 'ids of notification channels here' }],
  });
}

const columnsOf = (scope: Scope, rule: RuleDefinition) => [
  ...[rule.name, rule.enabled, rule.paused, JSON.stringify(rule)],
  ...[durationMs(rule.interval), offsetOf(scope, rule)],
];

function noteOf({ organizationId, tenantId }: Scope, id: string, { name }: RuleDefinition, verb: string) {
  const target = { kind: 'alert_rule', id, name };
  return { action: `alert_rule.${verb}`, organizationId, tenantId, target };
}
