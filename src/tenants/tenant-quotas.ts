import { setTimeout as sleep } from 'node:timers/promises';
import type { OnModuleDestroy } from '@nestjs/common';
import type { Logger } from 'pino';
import type { DataSource } from 'typeorm';
import { assertWithin, dateOf, dayOf, type Quotas, type Usage } from '../edge/quota.js';
import type { Scope } from '../edge/scope.js';

/** How often counts are written and quotas read while requests come. A crash loses no more counts than of this time. */
const EXCHANGE_MS = 1000;
/** How long a tenant's first request waits for its quota; it is let in when PostgreSQL takes longer. */
const MAX_FIRST_WAIT_MS = 500;
const MAX_STOP_MS = 2000;

/** What one tenant has used on one day. */
interface Day {
  readonly tenantId: string;
  readonly day: number;
  /** Of all instances, as PostgreSQL last said. */
  stored: Usage;
  /** On its way to PostgreSQL. */
  sending: Usage;
  /** Of this instance, since. */
  pending: Usage;
}

interface Tenant {
  /** Undefined until PostgreSQL has told it. */
  quota?: { items: number | null; bytes: number | null };
  today: Day;
  /** Since the last exchange. */
  wasUsed: boolean;
  /** While the first request waits for the quota. */
  loading?: Promise<void>;
}

/** Adds up in one order, so that instances that do it at once don't wait for each other in a circle. */
const ADD = `
  INSERT INTO tenant_usage AS usage (tenant_id, day, items, bytes)
  SELECT tenants.id, added.day, added.items, added.bytes
  FROM unnest($1::uuid[], $2::date[], $3::bigint[], $4::bigint[]) AS added (tenant_id, day, items, bytes)
  JOIN tenants ON tenants.id = added.tenant_id
  ORDER BY tenants.id, added.day
  ON CONFLICT (tenant_id, day) DO UPDATE SET items = usage.items + excluded.items, bytes = usage.bytes + excluded.bytes`;

const READ = `
  SELECT tenants.id, items_per_day, bytes_per_day, coalesce(items, 0) AS items, coalesce(bytes, 0) AS bytes
  FROM tenants LEFT JOIN tenant_usage ON tenant_id = tenants.id AND day = $2::date
  WHERE tenants.id = ANY($1::uuid[])`;

/** Numbers of PostgreSQL's bigint come as text. */
interface Row {
  id: string;
  items_per_day: string | null;
  bytes_per_day: string | null;
  items: string;
  bytes: string;
}

const none = (): Usage => ({ items: 0, bytes: 0 });
const sum = (a: Usage, b: Usage): Usage => ({ items: a.items + b.items, bytes: a.bytes + b.bytes });

/**
 * Quotas per tenant and day, without a query per request: counted here, added up with the other instances' counts in
 * PostgreSQL every second. So a quota can be exceeded by what is sent within a second, or is under way at once. While
 * PostgreSQL is away the counts go on in memory.
 */
export class TenantQuotas implements Quotas, OnModuleDestroy {
  private readonly tenants = new Map<string, Tenant>();
  private readonly uncounted = new Set<Day>();
  private exchanging: Promise<void> | undefined;
  private timer: NodeJS.Timeout | undefined;
  private isAway = false;

  constructor(
    private readonly source: Pick<DataSource, 'query'>,
    private readonly log: Pick<Logger, 'warn'>,
    private readonly nowMs: () => number = Date.now,
  ) {}

  assertLeft({ tenantId }: Scope): void | Promise<void> {
    const nowMs = this.nowMs();
    const tenant = this.use(tenantId, nowMs);
    if (tenant.loading === undefined) return assertLeftOf(tenant, nowMs);
    return tenant.loading.then(() => assertLeftOf(tenant, nowMs));
  }

  count({ tenantId }: Scope, items: number, bytes: number): void {
    const tenant = this.use(tenantId, this.nowMs());
    if (tenant.quota?.items === null && tenant.quota.bytes === null) return;
    tenant.today.pending.items += items;
    tenant.today.pending.bytes += bytes;
    this.uncounted.add(tenant.today);
  }

  /** Writes what is still to be counted. */
  async onModuleDestroy(): Promise<void> {
    clearTimeout(this.timer);
    await Promise.race([this.next(), sleep(MAX_STOP_MS, undefined, { ref: false })]);
  }

  private use(tenantId: string, nowMs: number): Tenant {
    const day = dayOf(nowMs);
    let tenant = this.tenants.get(tenantId);
    if (tenant === undefined) {
      tenant = { today: newDay(tenantId, day), wasUsed: true };
      this.tenants.set(tenantId, tenant);
      tenant.loading = this.load(tenant);
    } else if (tenant.today.day !== day) tenant.today = newDay(tenantId, day);
    tenant.wasUsed = true;
    this.timer ??= setTimeout(() => void this.tick(), EXCHANGE_MS).unref();
    return tenant;
  }

  private async load(tenant: Tenant): Promise<void> {
    await Promise.race([this.next(), sleep(MAX_FIRST_WAIT_MS, undefined, { ref: false })]);
    tenant.loading = undefined;
  }

  private async tick(): Promise<void> {
    await this.next();
    const isIdle = this.uncounted.size === 0 && ![...this.tenants.values()].some(({ wasUsed }) => wasUsed);
    this.timer = isIdle ? undefined : setTimeout(() => void this.tick(), EXCHANGE_MS).unref();
  }

  /** An exchange that begins after now. */
  private async next(): Promise<void> {
    await this.exchanging;
    this.exchanging ??= this.exchange().finally(() => (this.exchanging = undefined));
    await this.exchanging;
  }

  /** Never throws: what could not be written is kept for the next time. */
  private async exchange(): Promise<void> {
    const day = dayOf(this.nowMs());
    try {
      await this.add([...this.uncounted]);
      await this.read(day);
      this.isAway = false;
    } catch (error) {
      if (!this.isAway)
        this.log.warn({ err: error }, 'Usage of tenants could not be exchanged with PostgreSQL');
      this.isAway = true;
    }
    for (const [id, { today, wasUsed }] of this.tenants)
      if (!wasUsed && today.day !== day && !this.uncounted.has(today)) this.tenants.delete(id);
  }

  private async add(days: Day[]): Promise<void> {
    if (days.length === 0) return;
    for (const day of days) {
      day.sending = day.pending;
      day.pending = none();
      this.uncounted.delete(day);
    }
    try {
      await this.source.query(ADD, [
        days.map(({ tenantId }) => tenantId),
        days.map(({ day }) => dateOf(day)),
        days.map(({ sending }) => sending.items),
        days.map(({ sending }) => sending.bytes),
      ]);
      for (const day of days) day.stored = sum(day.stored, day.sending);
    } catch (error) {
      for (const day of days) {
        day.pending = sum(day.pending, day.sending);
        this.uncounted.add(day);
      }
      throw error;
    } finally {
      for (const day of days) day.sending = none();
    }
  }

  private async read(day: number): Promise<void> {
    const used = new Map([...this.tenants].filter(([, { wasUsed }]) => wasUsed));
    if (used.size === 0) return;
    for (const tenant of used.values()) tenant.wasUsed = false;
    const rows: Row[] = await this.source.query(READ, [[...used.keys()], dateOf(day)]);
    for (const row of rows) {
      const tenant = used.get(row.id)!;
      const perDay = (text: string | null) => (text === null ? null : Number(text));
      tenant.quota = { items: perDay(row.items_per_day), bytes: perDay(row.bytes_per_day) };
      if (tenant.today.day === day)
        tenant.today.stored = { items: Number(row.items), bytes: Number(row.bytes) };
    }
  }
}

function newDay(tenantId: string, day: number): Day {
  return { tenantId, day, stored: none(), sending: none(), pending: none() };
}

function assertLeftOf({ quota, today }: Tenant, nowMs: number): void {
  if (quota === undefined || (quota.items === null && quota.bytes === null)) return;
  assertWithin(sum(sum(today.stored, today.sending), today.pending), quota, nowMs);
}
