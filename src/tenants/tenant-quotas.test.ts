import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { migrationsFolder } from '../connections/migration-files.js';
import { openPostgres, type Postgres } from '../connections/postgres.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import { splitStatements } from '../sql/sql-text.js';
import { ensureDefaultTenant } from './default-tenant.js';
import { TenantQuotas } from './tenant-quotas.js';

const NOON = Date.parse('2026-03-01T12:00:00Z');
const log = pino({ level: 'silent' });
const folder = mkdtempSync(join(tmpdir(), 'tf-quotas-'));
after(() => rmSync(folder, { recursive: true, force: true }));

describe('Quotas of tenants', () => {
  let postgres: Postgres;
  let main: Scope;
  before(async () => {
    postgres = await openPostgres({ DATA_DIR: folder, DATABASE_URL: undefined });
    for (const name of ['001_tenancy.sql', '002_access.sql']) {
      const schema = readFileSync(join(migrationsFolder(), 'postgres', name), 'utf8');
      for (const statement of splitStatements(schema, 'postgres')) await postgres.query(statement);
    }
    main = await ensureDefaultTenant(postgres.dataSource);
  });
  after(() => postgres.close());

  async function newTenant(items: number | null, bytes: number | null): Promise<Scope> {
    const tenantId = randomUUID();
    await postgres.query(
      'INSERT INTO tenants (id, workspace_id, name, items_per_day, bytes_per_day) VALUES ($1, $2, gen_random_uuid()::text, $3, $4)',
      [tenantId, main.workspaceId, items, bytes],
    );
    return { ...main, tenantId };
  }
  const usage = (scope: Scope) =>
    postgres.query(
      'SELECT day::text, items::integer, bytes::integer FROM tenant_usage WHERE tenant_id = $1 ORDER BY day',
      [scope.tenantId],
    );
  const quotasAt = (nowMs: () => number) => new TenantQuotas(postgres.dataSource, log, nowMs);
  const isUsedUp = async (quotas: TenantQuotas, scope: Scope) => {
    try {
      await quotas.assertLeft(scope);
      return false;
    } catch (error) {
      assert.ok(error instanceof AppError && error.code === 'RATE_LIMITED', String(error));
      return true;
    }
  };

  it('are told by their name, and until when', async () => {
    for (const [items, bytes, name] of [
      [10, null, '10 items'],
      [null, 1000, '1000 bytes'],
    ] as const) {
      const scope = await newTenant(items, bytes);
      const quotas = quotasAt(() => NOON + 500);
      await quotas.assertLeft(scope);
      quotas.count(scope, 10, 1000);
      assert.throws(
        () => quotas.assertLeft(scope),
        (error) =>
          error instanceof AppError &&
          error.status === 429 &&
          error.message === `The tenant's quota of ${name} a day is used up; it starts anew at 00:00 UTC.` &&
          error.retryAfterSeconds === 12 * 3600,
      );
      await quotas.onModuleDestroy();
    }
  });

  it('hold for all instances together, and across a restart', async () => {
    const scope = await newTenant(100, null);
    const [one, other] = [quotasAt(() => NOON), quotasAt(() => NOON)];
    for (const quotas of [one, other]) await quotas.assertLeft(scope);
    one.count(scope, 60, 1);
    other.count(scope, 60, 1);
    assert.deepEqual([await isUsedUp(one, scope), await isUsedUp(other, scope)], [false, false]);
    await sleep(2500);
    assert.deepEqual(await usage(scope), [{ day: '2026-03-01', items: 120, bytes: 2 }]);
    for (const quotas of [one, other]) await isUsedUp(quotas, scope);
    await sleep(1500);
    assert.deepEqual([await isUsedUp(one, scope), await isUsedUp(other, scope)], [true, true]);
    for (const quotas of [one, other]) await quotas.onModuleDestroy();
    const restarted = quotasAt(() => NOON);
    assert.equal(await isUsedUp(restarted, scope), true);
    await restarted.onModuleDestroy();
  });

  it('start anew at midnight UTC; what was counted before it goes to the day before', async () => {
    let nowMs = Date.parse('2026-03-01T23:59:59.900Z');
    const scope = await newTenant(5, null);
    const quotas = quotasAt(() => nowMs);
    await quotas.assertLeft(scope);
    quotas.count(scope, 5, 50);
    assert.equal(await isUsedUp(quotas, scope), true);
    nowMs += 200;
    assert.equal(await isUsedUp(quotas, scope), false);
    quotas.count(scope, 2, 20);
    await quotas.onModuleDestroy();
    assert.deepEqual(await usage(scope), [
      { day: '2026-03-01', items: 5, bytes: 50 },
      { day: '2026-03-02', items: 2, bytes: 20 },
    ]);
  });

  it('that are changed hold within two seconds', async () => {
    const scope = await newTenant(10, null);
    const quotas = quotasAt(() => NOON);
    await quotas.assertLeft(scope);
    quotas.count(scope, 10, 1);
    assert.equal(await isUsedUp(quotas, scope), true);
    await postgres.query('UPDATE tenants SET items_per_day = 20 WHERE id = $1', [scope.tenantId]);
    for (let tries = 0; await isUsedUp(quotas, scope); tries++) {
      assert.ok(tries < 25);
      await sleep(100);
    }
    await quotas.onModuleDestroy();
  });

  it('that a tenant does not have cost nothing and count nothing', async () => {
    const scope = await newTenant(null, null);
    const quotas = quotasAt(() => NOON);
    await quotas.assertLeft(scope);
    for (let n = 0; n < 1000; n++) {
      assert.equal(quotas.assertLeft(scope), undefined, 'no promise once the tenant is known');
      quotas.count(scope, 1, 1);
    }
    await quotas.onModuleDestroy();
    assert.deepEqual(await usage(scope), []);
  });

  it('are not asked per request: a thousand requests are a few queries', async () => {
    let queries = 0;
    const counting = {
      query: <T>(sql: string, values?: unknown[]) => {
        queries++;
        return postgres.dataSource.query<T>(sql, values);
      },
    };
    const scope = await newTenant(1_000_000, null);
    const quotas = new TenantQuotas(counting, log, () => NOON);
    for (let n = 0; n < 1000; n++) {
      await quotas.assertLeft(scope);
      quotas.count(scope, 1, 1);
    }
    await quotas.onModuleDestroy();
    assert.ok(queries <= 6, `${queries} queries`);
    assert.deepEqual(await usage(scope), [{ day: '2026-03-01', items: 1000, bytes: 1000 }]);
  });

  it('let everybody in while PostgreSQL does not answer, and are counted when it does', async () => {
    let isAway = true;
    const source = {
      query: <T>(sql: string, values?: unknown[]) =>
        isAway ? Promise.reject<T>(new Error('away')) : postgres.dataSource.query<T>(sql, values),
    };
    const scope = await newTenant(10, null);
    const quotas = new TenantQuotas(source, log, () => NOON);
    assert.equal(await isUsedUp(quotas, scope), false);
    quotas.count(scope, 15, 1);
    assert.equal(await isUsedUp(quotas, scope), false);
    isAway = false;
    for (let tries = 0; !(await isUsedUp(quotas, scope)); tries++) {
      assert.ok(tries < 25);
      await sleep(100);
    }
    await quotas.onModuleDestroy();
    assert.deepEqual(await usage(scope), [{ day: '2026-03-01', items: 15, bytes: 1 }]);
  });

  it('of a tenant that was removed do not keep the others from being counted', async () => {
    const [gone, stays] = [await newTenant(10, null), await newTenant(10, null)];
    const quotas = quotasAt(() => NOON);
    for (const scope of [gone, stays]) {
      await quotas.assertLeft(scope);
      quotas.count(scope, 1, 1);
    }
    await postgres.query('DELETE FROM tenants WHERE id = $1', [gone.tenantId]);
    await quotas.onModuleDestroy();
    assert.deepEqual(await usage(stays), [{ day: '2026-03-01', items: 1, bytes: 1 }]);
  });
});
