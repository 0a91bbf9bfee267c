import { Body, Controller, Get, Inject, Param, Put } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { z } from 'zod';
import { CONFIG, type Config } from '../config.js';
import { CurrentPrincipal } from '../edge/current-scope.js';
import { assertOperator } from '../edge/operator.js';
import type { Principal } from '../edge/principal.js';
import { Requires } from '../edge/scope.guard.js';
import { DEFAULT_SCOPE, type Scope } from '../edge/scope.js';
import { ApiRoute } from '../http/api-route.js';
import { parseBody } from '../http/request.schema.js';
import { DATA_TYPES, defaultRetention, Retention, type RetentionDays } from '../retention.js';
import { readForChange, readThing } from '../tenants/hierarchy.js';
import { Changes, CurrentDoing, type Doing, differences } from '../tenants/rows.js';
import { type Rules, readRules, writeRules } from './retention-rows.js';

const DAYS = 'a whole number from 1 to 3650, or null for the setting';
const BYTES = `a whole number from 1 to ${Number.MAX_SAFE_INTEGER}, or null for no limit`;
const days = z.int({ error: DAYS }).min(1, { error: DAYS }).max(3650, { error: DAYS }).nullable();
const maxBytes = z.int({ error: BYTES }).min(1, { error: BYTES }).nullable();
const ruleOfRollup = z.strictObject({ days: days.default(null) }).optional();
const ruleOfSignal = z
  .strictObject({ days: days.default(null), max_bytes: maxBytes.default(null) })
  .optional();

export const retentionBody = z.object({
  metrics: ruleOfSignal,
  metrics_hourly: ruleOfRollup,
  metrics_daily: ruleOfRollup,
  logs: ruleOfSignal,
  traces: ruleOfSignal,
});

const rule = z.object({
  days: z.int().describe('in force'),
  is_default: z.boolean().describe('as the settings say'),
  max_bytes: z.int().nullable().describe('on disk, about; null: no limit'),
});
const retention = z.object({
  tenant_id: z.string().meta({ format: 'uuid' }),
  metrics: rule,
  metrics_hourly: rule,
  metrics_daily: rule,
  logs: rule,
  traces: rule,
});

/** How long a tenant's data is kept. */
@Controller('api/v1/tenants')
export class RetentionController {
  private readonly defaults: RetentionDays;

  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(Changes) private readonly changes: Changes,
    @Inject(DEFAULT_SCOPE) private readonly home: Scope,
    @Inject(CONFIG) config: Config,
  ) {
    this.defaults = defaultRetention(config);
  }

  @Requires('read')
  @ApiRoute({ summary: "Read how long a tenant's data is kept", response: retention, errors: ['NOT_FOUND'] })
  @Get(':id/retention')
  async read(@CurrentPrincipal() principal: Principal, @Param('id') id: string) {
    const tenant = await readThing(principal, this.source, 'tenant', id);
    return this.inForce(tenant.id, await readRules(this.source, tenant.id));
  }

  @Requires('admin')
  @ApiRoute({
    summary: "Set how long a tenant's data is kept, and how much of it",
    description:
      "In place of all that is set; what is not given is as the settings say. It takes the role admin in the tenant's organization, and \
to keep longer or more than the settings it takes an admin of the organization that runs the program. The next cleanup deletes what is too old then.",
    body: retentionBody,
    response: retention,
    errors: ['NOT_FOUND'],
  })
  @Put(':id/retention')
  change(@CurrentDoing() doing: Doing, @Param('id') id: string, @Body() body: unknown) {
    const given = rulesOf(parseBody(retentionBody, body));
    return this.changes.run(doing, async (manager, note) => {
      const { row: tenant, organizationId } = await readForChange(doing.principal, manager, 'tenant', id);
      const before = await readRules(manager, tenant.id);
      if (this.widens(before, given)) assertOperator(doing.principal, this.home);
      const changed = differences(before, { ...noRules(before), ...given });
      if (changed) {
        await writeRules(manager, tenant.id, given);
        const target = { kind: 'tenant', id: tenant.id, name: tenant.name };
        const details = { changes: changed };
        await note({ action: 'tenant.retention', organizationId, tenantId: tenant.id, target, details });
      }
      return this.inForce(tenant.id, given);
    });
  }

  /** More than anybody may have: longer than the settings, or past a limit of bytes that is there. */
  private widens(before: Rules, given: Rules): boolean {
    return DATA_TYPES.some((type) => {
      const [days, kept] = [given[type]?.days ?? 0, before[type]?.days ?? 0];
      const [bytes, limit] = [given[type]?.max_bytes ?? Infinity, before[type]?.max_bytes ?? Infinity];
      return (days > this.defaults[type] && days > kept) || bytes > limit;
    });
  }

  private inForce(tenantId: string, rules: Rules) {
    const own = Object.entries(rules).flatMap(([type, { days }]) => (days === null ? [] : [[type, days]]));
    const days = new Retention(this.defaults, new Map([[tenantId, Object.fromEntries(own)]])).of(tenantId);
    const ruleOf = (type: (typeof DATA_TYPES)[number]) => ({
      days: days[type],
      is_default: days[type] === this.defaults[type],
      max_bytes: rules[type]?.max_bytes ?? null,
    });
    return {
      tenant_id: tenantId,
      metrics: ruleOf('metrics'),
      metrics_hourly: ruleOf('metrics_hourly'),
      metrics_daily: ruleOf('metrics_daily'),
      logs: ruleOf('logs'),
      traces: ruleOf('traces'),
    };
  }
}

function rulesOf(body: z.output<typeof retentionBody>): Rules {
  const rules: Rules = {};
  for (const type of DATA_TYPES) {
    const given = body[type];
    if (given === undefined) continue;
    const max_bytes = 'max_bytes' in given ? given.max_bytes : null;
    if (given.days !== null || max_bytes !== null) rules[type] = { days: given.days, max_bytes };
  }
  return rules;
}

const noRules = (rules: Rules): Rules =>
  Object.fromEntries(Object.keys(rules).map((type) => [type, undefined]));
