import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { AccessTokens } from '../src/access/access-token.js';
import { SIGNALS, type Signal } from '../src/signal.js';
import { makeKeyText } from '../src/tenants/api-key.js';
import { EXPORT_PATHS, framed, GrpcConnection } from './support/grpc-client.js';
import { getJson } from './support/http.js';
import { attribute, ITEMS, requestOf } from './support/items.js';
import {
  ALL,
  ask,
  bearer,
  type Headers,
  makeNeighbours,
  type Neighbours,
  plainly,
  succeed,
} from './support/neighbours.js';
import { encode, type Item, portsOf, sendOtlp } from './support/otlp-client.js';
import { ROUTES, type Row, type Thing } from './support/routes-table.js';
import { makeDataDir, Server } from './support/server.js';

const JWT_SECRET = 'a secret of this test that is long enough';
const EXPIRES_IN_MS = 2000;
/** The status that each port gives for the same outcome. */
const OUTCOMES: Record<number, string> = {
  200: 'taken',
  202: 'taken',
  0: 'taken',
  401: 'unauthenticated',
  16: 'unauthenticated',
  403: 'denied',
  7: 'denied',
};
/** Names under which collectors and SDKs have carried a tenant. */
const TENANT_ATTRIBUTES = [
  'tenant.id',
  'tenant_id',
  'telemetryflow.tenant_id',
  'telemetryflow.tenant.id',
  'X-Tenant-ID',
  'organization_id',
];

describe('No way across', { concurrency: false }, () => {
  let server: Server;
  let grpc: GrpcConnection;
  let house: Neighbours;
  /** Items of each signal that the program has taken. */
  let taken = 0;
  /** Credentials that open nothing. */
  let worthless: Record<string, Headers>;
  before(async () => {
    server = await Server.start(makeDataDir(), { INGEST_ANONYMOUS: 'off', JWT_SECRET });
    grpc = new GrpcConnection(server.otlpGrpc);
    house = await makeNeighbours(server);
    worthless = await makeWorthless();
  });
  after(() => {
    grpc?.close();
    return server?.stop();
  });

  const routes = (which: (row: Row) => unknown) => Object.entries(ROUTES).filter(([, row]) => which(row));
  const guarded = () => routes(({ takes }) => takes !== 'nothing');
  const isOtlp = (operation: string) => operation.startsWith('post /v1/');
  const status = (headers: Headers) =>
    getJson(`${server.api}/api/v1/auth/me`, headers.authorization.slice(7));

  async function makeWorthless(): Promise<Record<string, Headers>> {
    const expired = await house.keyFor(ALL, { expires_at: Date.now() + EXPIRES_IN_MS });
    const revoked = await house.keyFor(ALL);
    for (const { key } of [expired, revoked]) assert.equal((await status(bearer(key))).status, 200);
    await succeed(server, 'DELETE', `api-keys/${revoked.id}`, house.ours.owner);
    assert.equal((await status(bearer(revoked.key))).status, 401, 'at once, where it was revoked');
    const [, payload] = house.ours.owner.authorization.split('.');
    const { sub, sid } = JSON.parse(Buffer.from(payload, 'base64url').toString());
    const sign = (secret: Uint8Array, nowMs: number) => new AccessTokens(secret).sign(sub, sid, nowMs);
    const secret = Buffer.from(JWT_SECRET);
    assert.equal(
      (await status(bearer(await sign(secret, Date.now())))).status,
      200,
      'so the two below fail by what they say',
    );
    await sleep(EXPIRES_IN_MS);
    return {
      none: {},
      malformed: { authorization: 'Bearer x' },
      'of another scheme': { authorization: `Basic ${house.ours.key}` },
      empty: { 'x-api-key': '' },
      'cut short': { 'x-api-key': house.ours.key.slice(0, -1) },
      unknown: bearer(makeKeyText().key),
      expired: bearer(expired.key),
      revoked: { 'x-api-key': revoked.key },
      'a login signed by others': bearer(await sign(randomBytes(32), Date.now())),
      'a login of an hour ago': bearer(await sign(secret, Date.now() - 3_600_000)),
    };
  }

  /** Sends one item through every door for OTLP, and says how each took it. */
  async function sendEverywhere(headers: Headers, marker = 'refused', resource: Item[] = []) {
    const outcomes = new Set<string>();
    for (const signal of SIGNALS) {
      const request = (door: string) => withResource(signal, `${marker} ${door} ${signal}`, resource);
      for (const { name, url } of portsOf(server)) {
        const body = encode(signal, 'json', request(name));
        const answer = await sendOtlp(url, signal, 'json', body, { headers });
        outcomes.add(OUTCOMES[answer.status] ?? `${name}: ${answer.status} ${answer.body}`);
      }
      const message = framed(encode(signal, 'protobuf', request('gRPC')));
      const { status } = await grpc.call(EXPORT_PATHS[signal], message, headers);
      outcomes.add(OUTCOMES[status ?? -1] ?? `gRPC: ${status}`);
    }
    const outcome = [...outcomes].join();
    if (outcome === 'taken') taken += portsOf(server).length + 1;
    return outcome;
  }

  it('every operation of the program has its row in the table, with the permission that it takes', async () => {
    const { body } = await getJson(`${server.api}/docs-json`);
    const { paths } = body as { paths: Record<string, Record<string, { 'x-permission'?: string }>> };
    const described = Object.entries(paths).flatMap(([path, item]) =>
      Object.entries(item).map(([method, one]) => [`${method} ${path}`, one['x-permission'] ?? 'nothing']),
    );
    const expected = Object.entries(ROUTES).map(([operation, { takes }]) => [operation, takes]);
    assert.deepEqual(described.sort(), expected.sort());
    const withoutThing = guarded().filter(
      ([operation, { of, operators }]) => operation.includes('{') && !of && !operators,
    );
    assert.deepEqual(withoutThing, [], 'a path with an id says whose');
  });

  it('a credential that is missing, malformed, unknown, expired or revoked opens nothing', async () => {
    for (const [name, headers] of Object.entries(worthless)) {
      for (const [operation, row] of guarded()) {
        const answer = await ask(server, operation, row, headers);
        assert.equal(answer.status, 401, `${name}: ${operation}`);
      }
      assert.equal(await sendEverywhere(headers), 'unauthenticated', name);
    }
  });

  it('too little permission opens nothing, enough gets past the door', async () => {
    const permissionsOf = new Map<Headers, string[]>([[house.viewer, ['read']]]);
    for (const permissions of [['ingest'], ['read'], ['read', 'write'], ['write'], ['admin']] as const)
      permissionsOf.set(bearer((await house.keyFor([...permissions])).key), [...permissions]);
    for (const [headers, permissions] of permissionsOf) {
      for (const [operation, row] of guarded().filter(([, row]) => !permissions.includes(row.takes))) {
        const answer = await ask(server, operation, row, headers);
        assert.equal(answer.status, 403, `${permissions}: ${operation}`);
      }
      const expected = permissions.includes('ingest') ? 'taken' : 'denied';
      assert.equal(await sendEverywhere(headers), expected, permissions.join());
    }
    for (const [operation, row] of guarded().filter(([operation]) => !/logout|delete/.test(operation))) {
      const answer = await ask(server, operation, { ...row, body: {} }, bearer(house.ours.key));
      assert.doesNotMatch(answer.body.toString(), /needs the permission|UNAUTHENTICATED/, operation);
    }
  });

  it('a viewer changes nothing of its own organization, and a key nothing beyond its tenant', async () => {
    for (const [operation, row] of routes(({ byAdmin }) => byAdmin)) {
      const { ids } = house.ours;
      const viewer = await ask(server, operation, row, house.viewer, row.of && ids[row.of]);
      assert.equal(viewer.status, 403, `${operation}: ${viewer.body}`);
      const key = await ask(server, operation, row, bearer(house.ours.key), row.of && ids[row.of]);
      assert.equal(key.status, 403, `${operation}: ${key.body}`);
    }
  });

  it('what is the program’s own is for its operators alone', async () => {
    for (const [operation, row] of routes(({ operators }) => operators)) {
      for (const headers of [house.theirs.owner, bearer(house.theirs.key)]) {
        const answer = await ask(server, operation, row, headers, 'aggregation');
        assert.equal(answer.status, 403, `${operation}: ${answer.body}`);
      }
    }
    const pause = { 'post /api/v1/queues/{name}/pause': 'paused', 'post /api/v1/queues/{name}/resume': 'ok' };
    for (const [operation, health] of Object.entries(pause)) {
      const done = await ask(server, operation, ROUTES[operation], bearer(house.ours.key), 'aggregation');
      assert.equal(done.status, 200, `${operation}: ${done.body}`);
      const path = 'get /api/v1/queues/{name}';
      const { body } = await ask(server, path, ROUTES[path], bearer(house.ours.key), 'aggregation');
      assert.equal(JSON.parse(body.toString()).health, health);
    }
  });

  it('X-Tenant-ID of another tenant is refused, in the same words whether there is such a tenant or not', async () => {
    const { ours, theirs, sibling, viewer } = house;
    const forgeries: [Headers, string[]][] = [
      [bearer(ours.key), [sibling.tenantId, theirs.ids.tenant]],
      [bearer(sibling.key), [ours.ids.tenant]],
      [ours.owner, [theirs.ids.tenant]],
      [viewer, [theirs.ids.tenant]],
      [theirs.owner, [ours.ids.tenant, sibling.tenantId]],
    ];
    for (const [headers, tenants] of forgeries) {
      for (const [operation, row] of guarded()) {
        const forged = async (tenant: string) =>
          plainly(await ask(server, operation, row, { ...headers, 'x-tenant-id': tenant }), tenant);
        const nowhere = (await forged(randomUUID())) as { status: number };
        if (!isOtlp(operation)) assert.equal(nowhere.status, 403, operation);
        for (const tenant of tenants) assert.deepEqual(await forged(tenant), nowhere, operation);
      }
      for (const tenant of [...tenants, randomUUID(), '', "' OR 1=1"])
        assert.equal(await sendEverywhere({ ...headers, 'x-tenant-id': tenant }), 'denied', tenant);
    }
  });

  it('data goes to the tenant of the credential and is shown to that alone, whatever its attributes say', async () => {
    const { ours, theirs, sibling } = house;
    const named = [sibling.tenantId, theirs.ids.tenant].flatMap((tenant) =>
      TENANT_ATTRIBUTES.map((name) =>
        attribute(`${name}${tenant === sibling.tenantId ? '' : '.other'}`, tenant),
      ),
    );
    for (const resource of [named, TENANT_ATTRIBUTES.map((name) => attribute(name, theirs.ids.tenant))])
      assert.equal(await sendEverywhere(bearer(ours.key), 'ours', resource), 'taken');
    await server.drained();
    for (const [operation, row] of routes(({ data }) => data)) {
      const rowsFor = async (headers: Headers) => {
        const { status, body } = await ask(server, operation, row, headers);
        assert.equal(status, 200, `${operation}: ${body}`);
        const { data, series, points, nodes } = JSON.parse(body.toString()) as Record<
          string,
          unknown[] | undefined
        >;
        return (data ?? series ?? points ?? nodes)!.length;
      };
      for (const headers of [bearer(ours.key), ours.owner]) {
        const rows = await rowsFor(headers);
        if (row.data === 'items') assert.equal(rows, taken, `${operation} shows all`);
        else assert.ok(rows > 0, `${operation} shows what is there`);
      }
      for (const headers of [bearer(sibling.key), bearer(theirs.key), theirs.owner])
        assert.equal(await rowsFor(headers), 0, operation);
    }
    const [trace] = (await succeed<{ data: { trace_id: string }[] }>(server, 'GET', 'traces', ours.owner))
      .data;
    ours.ids.trace = trace.trace_id;
  });

  it('what is someone else’s is absent, in the same words as what does not exist, and stays as it was', async () => {
    const { ours, theirs, sibling } = house;
    const before = await everythingOf(ours.owner);
    for (const [operation, row] of routes(({ of }) => of)) {
      const thing = row.of!;
      const id = ours.ids[thing];
      assert.ok(id, `there is a ${thing}, else this shows nothing`);
      const isOurs = [
        'tenant',
        'key',
        'trace',
        'channel',
        'rule',
        'incident',
        'silence',
        'dashboard',
      ].includes(thing);
      const strangers = [theirs.owner, bearer(theirs.key), ...(isOurs ? [bearer(sibling.key)] : [])];
      for (const headers of strangers) {
        const answered = await ask(server, operation, row, headers, id);
        const absent = nowhere(thing);
        const unknown = plainly(await ask(server, operation, row, headers, absent), absent);
        assert.deepEqual(plainly(answered, id), unknown, operation);
        const isKeyAmongUsers = headers !== theirs.owner && thing === 'user';
        assert.equal(answered.status, row.filters ? 200 : isKeyAmongUsers ? 403 : 404, operation);
        if (row.filters) assert.deepEqual((unknown as { data: unknown[] }).data, [], operation);
      }
    }
    assert.deepEqual(await everythingOf(ours.owner), before);
    for (const [operation, row] of routes(({ of, takes }) => of && takes !== 'nothing')) {
      if (!operation.startsWith('get ')) continue;
      const answer = await ask(server, operation, row, ours.owner, ours.ids[row.of!]);
      assert.equal(answer.status, 200, `${operation} shows its owner the same: ${answer.body}`);
    }
  });

  it('lists hold nothing of others', async () => {
    const { ours, theirs, sibling } = house;
    const { organization, workspace, user, ...ofTenant } = ours.ids;
    for (const [operation, row] of guarded()) {
      if (operation.includes('{') || !operation.startsWith('get ') || row.operators) continue;
      // Refusals are on record with the path that was asked for: the ids in it are the asker's own words.
      const query = operation.endsWith('/audit') ? 'result=ok' : row.data && row.query;
      const idsShown = async (headers: Headers, ids: string[]) => {
        const { status, body } = await ask(server, operation, { ...row, query }, headers);
        assert.equal(
          status,
          headers === theirs.owner || !operation.endsWith('/users') ? 200 : 403,
          operation,
        );
        return ids.filter((id) => body.includes(id));
      };
      const all = [...Object.values(ours.ids), sibling.tenantId, sibling.keyId];
      for (const headers of [theirs.owner, bearer(theirs.key)])
        assert.deepEqual(await idsShown(headers, all), [], operation);
      assert.deepEqual(await idsShown(bearer(sibling.key), Object.values(ofTenant)), [], operation);
      if (!row.data && !row.figures && !row.endless)
        assert.notDeepEqual(
          await idsShown(theirs.owner, Object.values(theirs.ids).filter(Boolean)),
          [],
          operation,
        );
    }
  });

  const nowhere = (thing: Thing) => (thing === 'trace' ? randomBytes(16).toString('hex') : randomUUID());

  async function everythingOf(owner: Headers): Promise<unknown> {
    const lists = [
      'organizations',
      'workspaces',
      'tenants',
      'users',
      'api-keys',
      'notification-channels',
      'alerts/silences',
      'dashboards',
    ];
    const pages = lists.map((path) => succeed<{ data: Item[] }>(server, 'GET', path, owner));
    const rows = (await Promise.all(pages)).flatMap(({ data }) => data);
    assert.ok(rows.length > lists.length);
    return rows.map(({ last_used_at, ...row }) => row);
  }
});

/** A request whose resource has these attributes too. */
function withResource(signal: Signal, marker: string, attributes: Item[]): Item {
  const request = requestOf(signal, [ITEMS[signal](marker)]);
  const [blocks] = Object.values(request) as { resource: { attributes: Item[] } }[][];
  blocks[0].resource.attributes.push(...attributes);
  return request;
}
