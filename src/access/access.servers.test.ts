import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { AuditList, newCache, openAccessDatabase, SILENT } from '../../test/support/access-database.js';
import { type PostgresServer, startPostgres } from '../../test/support/postgres-server.js';
import { startRedis } from '../../test/support/redis-server.js';
import { until } from '../../test/support/until.js';
import { openCache } from '../cache/cache.module.js';
import { openPostgres, type Postgres } from '../connections/postgres.js';
import { isDatabaseAway } from '../edge/error.filter.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import { createApiKey } from '../tenants/api-key.js';
import { identitiesOf } from './access.module.js';
import { AccessTokens } from './access-token.js';
import { type FirstStart, makeFirstAdmin } from './first-start.js';
import { KeyUses } from './key-uses.js';
import { Sessions } from './sessions.js';

const INSTANCES = 5;
const origin = { remoteAddress: '127.0.0.1', userAgent: undefined, correlationId: '' };
const tokens = new AccessTokens(Buffer.alloc(32, 1));

/** Several processes on one PostgreSQL, each with its own pool. */
describe('Credentials on a PostgreSQL server', { concurrency: false }, () => {
  let server: PostgresServer;
  let pools: Postgres[];
  let scope: Scope;
  let first: FirstStart;
  const audit = new AuditList();

  before(async () => {
    server = await startPostgres();
    const opened = await openAccessDatabase('', server.url);
    scope = opened.scope;
    const more = Array.from({ length: INSTANCES - 1 }, () =>
      openPostgres({ DATA_DIR: '', DATABASE_URL: server.url }),
    );
    pools = [opened.postgres, ...(await Promise.all(more))];
  });
  after(async () => {
    await Promise.all(pools.map((pool) => pool.close()));
    await server.stop();
  });

  const identities = () =>
    pools.map(({ dataSource }) => identitiesOf(dataSource, newCache(), tokens, () => undefined));

  it('the first admin is made by one of the processes that start at once', async () => {
    const made = await Promise.all(pools.map(({ dataSource }) => makeFirstAdmin(dataSource, scope, audit)));
    const shown = made.filter((one) => one !== undefined);
    assert.equal(shown.length, 1);
    [first] = shown;
    const [{ users, keys }] = await pools[0].query<{ users: number; keys: number }>(
      'SELECT (SELECT count(*)::integer FROM users) AS users, (SELECT count(*)::integer FROM api_keys) AS keys',
    );
    assert.deepEqual([users, keys], [1, 1]);
  });

  it('a refresh token that two use at once works for one at most, and its session ends', async () => {
    for (let round = 0; round < 10; round++) {
      const sessions = pools.map(
        ({ dataSource }) => new Sessions(dataSource, tokens, audit, () => undefined),
      );
      const { refresh_token, access_token } = await sessions[0].login(first.email, first.password, origin);
      const results = await Promise.allSettled(sessions.map((one) => one.refresh(refresh_token, origin)));
      const good = results.filter((result) => result.status === 'fulfilled');
      assert.equal(good.length, 1);
      for (const { status, reason } of results.filter((result) => result.status === 'rejected'))
        assert.ok(reason instanceof AppError && reason.code === 'UNAUTHENTICATED', `${status} ${reason}`);
      assert.equal(await identities()[0].find(access_token, undefined), undefined);
      await assert.rejects(() => sessions[1].refresh(good[0].value.refresh_token, origin), {
        code: 'UNAUTHENTICATED',
      });
    }
  });

  it('a password that is changed while logins with the old one run lets none of them stay', async () => {
    const sessions = pools.map(({ dataSource }) => new Sessions(dataSource, tokens, audit, () => undefined));
    const opened = await sessions[0].login(first.email, first.password, origin);
    const principal = (await identities()[0].find(opened.access_token, undefined))!;
    const next = 'another password of many';
    const logins = sessions.map((one) => one.login(first.email, first.password, origin));
    const [, ...results] = await Promise.allSettled([
      sessions[0].changePassword(principal, first.password, next, origin),
      ...logins,
    ]);
    const fresh = identities()[1];
    for (const result of results) {
      if (result.status === 'fulfilled')
        assert.equal(await fresh.find(result.value.access_token, undefined), undefined);
    }
    assert.ok(await fresh.find(opened.access_token, undefined), 'the session that changed it');
    first.password = next;
  });

  it('a revoked key is refused by every process within a second, under load', async () => {
    const { id, key } = await createApiKey(pools[0].dataSource, {
      tenantId: scope.tenantId,
      name: 'k',
      permissions: ['ingest'],
      createdBy: 'test',
    });
    const all = identities();
    for (const one of all) assert.ok(await one.find(key, undefined));
    await pools[0].query('UPDATE api_keys SET revoked_at = now() WHERE id = $1', [id]);
    const revokedAt = performance.now();
    let lastMs = 0;
    while (performance.now() - revokedAt < 1000) {
      for (const one of all) if (await one.find(key, undefined)) lastMs = performance.now() - revokedAt;
      await sleep(2);
    }
    console.log(`# last let in ${lastMs.toFixed()} ms after the revocation`);
    for (const one of all) assert.equal(await one.find(key, undefined), undefined);
  });

  it('what PostgreSQL knows of a credential is asked for once by all processes that share Redis, at each version', async () => {
    const redis = await startRedis();
    const settings = { REDIS_URL: redis.url, CACHE_L1_ENTRIES: 1000, CACHE_L1_BYTES: 1e7 };
    const caches = pools.map(() => openCache(settings, SILENT));
    await until('connected', () =>
      caches.every(({ service, redis }) => service.getStats().isListening && redis!.isUp),
    );
    const asked: string[] = [];
    const all = pools.map(({ dataSource }, index) => {
      const query = (async (sql: string, values?: unknown[]) => {
        if (/FROM (api_keys|sessions)/.test(sql)) asked.push(sql);
        return dataSource.query(sql, values);
      }) as typeof dataSource.query;
      const counted = { query } as typeof dataSource;
      return identitiesOf(counted, caches[index].service, tokens, () => undefined);
    });
    const sessions = new Sessions(pools[0].dataSource, tokens, audit, () => undefined);
    const { access_token } = await sessions.login(first.email, first.password, origin);
    const { key, id } = await createApiKey(pools[0].dataSource, {
      tenantId: scope.tenantId,
      name: 'shared',
      permissions: ['read'],
      createdBy: 'test',
      expiresAt: new Date(Date.now() + 3_600_000),
    });
    for (const credential of [key, access_token])
      for (const one of all)
        assert.equal((await one.find(credential, undefined))?.scope.tenantId, scope.tenantId);
    assert.equal(asked.length, 2);
    await pools[0].query('UPDATE api_keys SET revoked_at = now() WHERE id = $1', [id]);
    await sleep(1_000);
    for (const one of all) assert.equal(await one.find(key, undefined), undefined);
    for (const one of all) assert.ok(await one.find(access_token, undefined));
    assert.equal(asked.length, 4, 'once more, at the next version');
    for (const cache of caches) await cache.close();
    await redis.stop();
  });

  it('uses of keys noted by several processes at once are written without a deadlock', async () => {
    const made = await Promise.all(
      Array.from({ length: 50 }, (_, n) =>
        createApiKey(pools[0].dataSource, {
          tenantId: scope.tenantId,
          name: `${n}`,
          permissions: ['ingest'],
          createdBy: 'test',
        }),
      ),
    );
    for (let round = 1; round <= 5; round++) {
      const uses = pools.map(({ dataSource }) => new KeyUses(dataSource, SILENT));
      for (const [index, one] of uses.entries()) {
        const order = index % 2 === 0 ? made : [...made].reverse();
        for (const { id } of order) one.note(id, round * 1000 + index);
      }
      await Promise.all(uses.map((one) => one.write()));
      const rows = await pools[0].query<{ at: Date }>('SELECT last_used_at AS at FROM api_key_uses');
      assert.deepEqual(new Set(rows.map(({ at }) => at.getTime())), new Set([round * 1000 + INSTANCES - 1]));
      assert.equal(rows.length, 50);
    }
  });

  it('a login during a crash of PostgreSQL is told to come back, not that it is wrong', async () => {
    const sessions = new Sessions(pools[0].dataSource, tokens, audit, () => undefined);
    const errors: unknown[] = [];
    let isOver = false;
    const trying = (async () => {
      while (!isOver) {
        await sessions.login(first.email, first.password, origin).catch((error) => errors.push(error));
      }
    })();
    // A login asks the database at its beginning and its end, and computes between: a crash may fall there and be over before it asks.
    for (let crashes = 0; errors.length === 0 && crashes < 20; crashes++) await server.crash();
    isOver = true;
    await trying;
    assert.ok(errors.length > 0);
    for (const error of errors) assert.ok(isDatabaseAway(error), String(error));
    assert.ok(await sessions.login(first.email, first.password, origin));
  });

  it('a crash of PostgreSQL is not noticed by who is known', async () => {
    const { key } = await createApiKey(pools[0].dataSource, {
      tenantId: scope.tenantId,
      name: 'k',
      permissions: ['ingest'],
      createdBy: 'test',
    });
    const [known, stranger] = identities();
    assert.ok(await known.find(key, undefined));
    let refused = 0;
    let asked = 0;
    let isOver = false;
    const asking = (async () => {
      while (!isOver) {
        asked++;
        const finding = async () => known.find(key, undefined);
        if (!(await finding().catch(() => undefined))) refused++;
        await sleep(5);
      }
    })();
    await server.crash();
    await sleep(1000);
    isOver = true;
    await asking;
    assert.equal(refused, 0, `of ${asked}`);
    assert.ok(await stranger.find(key, undefined));
  });
});
