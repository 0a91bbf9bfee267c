import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  makeOrganization,
  newCache,
  openAccessDatabase,
  SILENT,
} from '../../test/support/access-database.js';
import { keys } from '../cache/cache-key.js';
import type { Postgres } from '../connections/postgres.js';
import type { Principal } from '../edge/principal.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import { createApiKey, makeKeyText } from '../tenants/api-key.js';
import { AccessTokens } from './access-token.js';
import { AccessVersion } from './access-version.js';
import { readKeys, readSessions, readVersion } from './identity-rows.js';
import { KeyUses } from './key-uses.js';
import { KnownIdentities } from './known-identities.js';
import { Lookup } from './lookup.js';
import { VersionedRows } from './versioned-rows.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-identities-'));
const tokens = new AccessTokens(Buffer.alloc(32, 1));
let postgres: Postgres;
let scope: Scope;

/** Identities with their queries counted, a clock that can be set, and a PostgreSQL that can be taken away. */
function observed() {
  const world = { queries: 0, isAway: false, aheadMs: 0, used: [] as string[] };
  const counted =
    <A extends unknown[], T>(query: (...args: A) => Promise<T>) =>
    async (...args: A) => {
      world.queries++;
      if (world.isAway) throw new Error('connection refused');
      return query(...args);
    };
  const source = postgres.dataSource;
  const cache = newCache();
  const keyRows = new Lookup(counted((prefixes: string[]) => readKeys(source, prefixes)));
  const sessionRows = new Lookup(counted((ids: string[]) => readSessions(source, ids)));
  const identities = new KnownIdentities({
    version: new AccessVersion(
      counted(() => readVersion(source)),
      () => performance.now() + world.aheadMs,
    ),
    keys: new VersionedRows(cache, keys.permissions, keyRows),
    sessions: new VersionedRows(cache, keys.session, sessionRows),
    tokens,
    used: (id) => world.used.push(id),
    nowMs: () => Date.now() + world.aheadMs,
  });
  return { world, find: async (credential: string, tenant?: string) => identities.find(credential, tenant) };
}

const newKey = (more: Partial<Parameters<typeof createApiKey>[1]> = {}) =>
  createApiKey(postgres.dataSource, {
    tenantId: scope.tenantId,
    name: 'k',
    permissions: ['ingest'],
    createdBy: 'test',
    ...more,
  });
const unavailable = (error: unknown) => error instanceof AppError && error.code === 'UNAVAILABLE';
const denied = (error: unknown) => error instanceof AppError && error.code === 'PERMISSION_DENIED';

before(async () => {
  ({ postgres, scope } = await openAccessDatabase(folder));
});
after(async () => {
  await postgres.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('A key', () => {
  it('is its tenant’s, with its permissions and limits', async () => {
    const limits = { ingestion: { limit: 5, ttlMs: 1000 } };
    const { id, key } = await newKey({ name: 'shop', permissions: ['read', 'ingest'], limits });
    const { find, world } = observed();
    const expected = { kind: 'key', id, name: 'shop', scope, limits };
    const { permissions, ...found } = (await find(key))!;
    assert.deepEqual(found, expected);
    assert.deepEqual([...permissions].sort(), ['ingest', 'read']);
    assert.deepEqual(world.used, [id]);
  });

  it('is known after two queries; a thousand requests more take none', async () => {
    const { key } = await newKey();
    const { find, world } = observed();
    const found = await Promise.all(Array.from({ length: 100 }, () => find(key)));
    assert.ok(found.every((principal) => principal?.name === 'k'));
    assert.equal(world.queries, 2, 'one for the version, one for the key, for all who asked at once');
    for (let i = 0; i < 1000; i++) await find(key);
    assert.equal(world.queries, 2);
  });

  it('that nobody has is asked about once', async () => {
    const { key: real } = await newKey();
    const { find, world } = observed();
    const { key: guess } = makeKeyText();
    for (let i = 0; i < 100; i++) assert.equal(await find(guess), undefined);
    assert.equal(world.queries, 2);
    for (const text of ['', 'x', real.slice(0, -1), `${real}x`, real.toUpperCase(), 'Bearer', '..', 'tfk_'])
      assert.equal(await find(text), undefined, text);
    assert.equal(world.queries, 2, 'text that is no key is not asked about');
    assert.deepEqual(world.used, []);
  });

  it('with the prefix of another is nobody’s', async () => {
    const { id, key } = await newKey();
    const other = await newKey();
    await postgres.query(
      'UPDATE api_keys SET key_hash = (SELECT key_hash FROM api_keys WHERE id = $1) WHERE id = $2',
      [other.id, id],
    );
    const { find } = observed();
    assert.equal(await find(key), undefined);
    assert.equal((await find(other.key))?.id, other.id);
  });

  it('that was presented before it was made is good within a second after', async () => {
    const { find } = observed();
    const { id, key } = await newKey();
    await postgres.query('DELETE FROM api_keys WHERE id = $1', [id]);
    const [{ hash }] = await postgres.query<{ hash: Buffer }>(`SELECT sha256($1::bytea) AS hash`, [
      Buffer.from(key),
    ]);
    assert.equal(await find(key), undefined);
    await postgres.query(
      `INSERT INTO api_keys (id, tenant_id, name, prefix, key_hash, permissions, created_by)
       VALUES ($1, $2, 'late', $3, $4, '{ingest}', 'test')`,
      [id, scope.tenantId, key.slice(0, 16), hash],
    );
    await sleep(1000);
    assert.equal((await find(key))?.name, 'late');
  });

  it('expires to the millisecond, known or not, without a query', async () => {
    const { key } = await newKey({ expiresAt: new Date(Date.now() + 5000) });
    const { find, world } = observed();
    assert.ok(await find(key));
    const { queries } = world;
    world.aheadMs = 5001;
    world.isAway = true;
    assert.equal(await find(key), undefined);
    world.isAway = false;
    assert.ok(world.queries <= queries + 1, 'the version alone');
    assert.equal(
      await observed().find((await newKey({ expiresAt: new Date(Date.now() - 1) })).key),
      undefined,
    );
  });
});

describe('What takes a credential away', () => {
  /** Each in the words of SQL; the routes and commands do nothing else. */
  const ways: [string, (key: { id: string }) => Promise<unknown>][] = [
    ['revoked', ({ id }) => postgres.query('UPDATE api_keys SET revoked_at = now() WHERE id = $1', [id])],
    ['deleted', ({ id }) => postgres.query('DELETE FROM api_keys WHERE id = $1', [id])],
    [
      'expired by hand',
      ({ id }) => postgres.query('UPDATE api_keys SET expires_at = now() WHERE id = $1', [id]),
    ],
  ];
  for (const [what, change] of ways) {
    it(`a key that is ${what} is refused within a second by two processes that are busy and one that is not`, async () => {
      const key = await newKey();
      const instances = [observed(), observed(), observed()];
      for (const { find } of instances) assert.ok(await find(key.key));
      await change(key);
      const changedAt = performance.now();
      const [one, two, idle] = instances;
      while (performance.now() - changedAt < 1000) {
        await Promise.all([one.find(key.key), two.find(key.key)]);
        await sleep(7);
      }
      for (const { find } of [one, two, idle]) assert.equal(await find(key.key), undefined);
      assert.ok(one.world.queries < 10, `${one.world.queries} queries in a busy second`);
    });
  }

  it('a permission that is taken away is gone within a second', async () => {
    const key = await newKey({ permissions: ['ingest', 'read'] });
    const { find } = observed();
    assert.ok((await find(key.key))?.permissions.has('read'));
    await postgres.query(`UPDATE api_keys SET permissions = '{ingest}' WHERE id = $1`, [key.id]);
    await sleep(1000);
    assert.ok(!(await find(key.key))?.permissions.has('read'));
  });
});

describe('While PostgreSQL is away', () => {
  it('what is known goes on for 5 minutes, then nobody is known; what is unknown is told so, never that it is wrong', async () => {
    const [{ key }, { key: stranger }] = [await newKey(), await newKey()];
    const { find, world } = observed();
    assert.ok(await find(key));
    world.isAway = true;
    world.aheadMs = 4.9 * 60_000;
    assert.ok(await find(key), 'known');
    await assert.rejects(() => find(stranger), unavailable);
    world.aheadMs = 5.1 * 60_000;
    await assert.rejects(() => find(key), unavailable);
    world.isAway = false;
    assert.ok(await find(key));
    assert.ok(await find(stranger));
  });

  it('what changed before it went is not believed', async () => {
    const { id, key } = await newKey();
    const { find, world } = observed();
    assert.ok(await find(key));
    await postgres.query('UPDATE api_keys SET revoked_at = now() WHERE id = $1', [id]);
    world.aheadMs = 950;
    assert.equal(await find(key), undefined);
    world.isAway = true;
    world.aheadMs = 60_000;
    assert.equal(await find(key), undefined);
  });
});

describe('A login', () => {
  let userId: string;
  let sessionId: string;
  let token: string;
  beforeEach(async () => {
    [userId, sessionId] = [randomUUID(), randomUUID()];
    await postgres.query(`INSERT INTO users (id, email, password_hash) VALUES ($1, $2, '')`, [
      userId,
      `${userId}@localhost`,
    ]);
    await postgres.query(
      `INSERT INTO sessions (id, user_id, remote_address, expires_at) VALUES ($1, $2, '', now() + interval '1 hour')`,
      [sessionId, userId],
    );
    token = await tokens.sign(userId, sessionId, Date.now());
  });
  const join = (organizationId: string, role: string) =>
    postgres.query('INSERT INTO memberships (user_id, organization_id, role) VALUES ($1, $2, $3)', [
      userId,
      organizationId,
      role,
    ]);

  it('acts for the oldest tenant of its first organization, whoever else adds it, or for the one it names among its own', async () => {
    const [one, other] = [
      await makeOrganization(postgres, randomUUID(), 2),
      await makeOrganization(postgres, randomUUID(), 1),
    ];
    const { find } = observed();
    const as = ({ role, scope: { tenantId }, permissions }: Principal) => [
      role,
      tenantId,
      [...permissions].join(),
    ];
    await join(one.organizationId, 'viewer');
    assert.deepEqual(as((await find(token))!), ['viewer', one.tenantIds[0], 'read']);
    assert.deepEqual(as((await find(token, one.tenantIds[1]))!), ['viewer', one.tenantIds[1], 'read']);
    for (const foreign of [other.tenantIds[0], scope.tenantId, randomUUID(), 'x', ''])
      await assert.rejects(() => find(token, foreign), denied, foreign);
    await join(scope.organizationId, 'editor');
    await sleep(1000);
    assert.deepEqual(as((await find(token))!), ['viewer', one.tenantIds[0], 'read']);
    assert.deepEqual(as((await find(token, scope.tenantId))!), ['editor', scope.tenantId, 'read,write']);
    assert.equal((await find(token))!.sessionId, sessionId);
  });

  it('of a user without a tenant may do nothing', async () => {
    await assert.rejects(() => observed().find(token, undefined), denied);
  });

  const endings: [string, () => Promise<unknown>][] = [
    [
      'its session is ended',
      () => postgres.query('UPDATE sessions SET revoked_at = now() WHERE id = $1', [sessionId]),
    ],
    [
      'its user is disabled',
      () => postgres.query('UPDATE users SET disabled_at = now() WHERE id = $1', [userId]),
    ],
    ['its user is deleted', () => postgres.query('DELETE FROM users WHERE id = $1', [userId])],
  ];
  for (const [what, end] of endings) {
    it(`is over within a second when ${what}, however long its token would be good`, async () => {
      await join(scope.organizationId, 'owner');
      const { find } = observed();
      assert.ok(await find(token));
      await end();
      await sleep(1000);
      assert.equal(await find(token), undefined);
    });
  }

  it('is over when its token or its session is, by the clock', async () => {
    await join(scope.organizationId, 'owner');
    const { find, world } = observed();
    assert.ok(await find(token));
    world.aheadMs = 15 * 60_000;
    assert.equal(await find(token), undefined, 'the token');
    await postgres.query(`UPDATE sessions SET expires_at = now() + interval '5 s' WHERE id = $1`, [
      sessionId,
    ]);
    const again = observed();
    assert.ok(await again.find(token));
    again.world.aheadMs = 5001;
    assert.equal(await again.find(token), undefined, 'the session');
  });

  it('whose token names another user’s session is nobody', async () => {
    await join(scope.organizationId, 'owner');
    assert.equal(await observed().find(await tokens.sign(randomUUID(), sessionId, Date.now())), undefined);
    assert.equal(await observed().find(await tokens.sign(userId, randomUUID(), Date.now())), undefined);
  });
});

describe('The last use of a key', () => {
  it('is noted in memory and written once for all, the latest, leaving out keys that are gone', async () => {
    const [one, other] = [await newKey(), await newKey()];
    const uses = new KeyUses(postgres.dataSource, SILENT);
    const lastUses = () =>
      postgres.query<{ id: string; at: Date }>(
        'SELECT api_key_id AS id, last_used_at AS at FROM api_key_uses WHERE api_key_id = ANY($1) ORDER BY last_used_at',
        [[one.id, other.id]],
      );
    const [version] = await postgres.query('SELECT version FROM access_version');
    for (let at = 1000; at <= 5000; at++) uses.note(one.id, at);
    uses.note(other.id, 9000);
    uses.note(randomUUID(), 9000);
    assert.deepEqual(await lastUses(), []);
    await uses.write();
    const [first, second] = [
      { id: one.id, at: new Date(5000) },
      { id: other.id, at: new Date(9000) },
    ];
    assert.deepEqual(await lastUses(), [first, second]);
    uses.note(one.id, 4000);
    await uses.write();
    assert.deepEqual(await lastUses(), [first, second], 'another process wrote a later one');
    assert.deepEqual(
      await postgres.query('SELECT version FROM access_version'),
      [version],
      'nothing to look up again',
    );
  });
});
