import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ClickHouseHttp } from './support/clickhouse-http.js';
import { bearer, succeed } from './support/neighbours.js';
import { sendOtlp } from './support/otlp-client.js';
import { type PostgresServer, startPostgres } from './support/postgres-server.js';
import { HttpReceiver } from './support/receivers.js';
import { DURABLE, type RedisServer, startRedis } from './support/redis-server.js';
import { makeDataDir, Server } from './support/server.js';

const RULES = 4;
/** What a killed process had in hand is free when its lock is over, half a minute later, and perhaps tried again after a pause. */
const MAX_WAIT_MS = 120_000;

interface Notice {
  id: string;
  kind: string;
  rule: { id: string };
}

/** Two whole programs, each with a scheduler and workers, on one PostgreSQL, one ClickHouse and one Redis. */
describe('Alerts of two processes', { concurrency: false }, () => {
  const folder = makeDataDir();
  let postgres: PostgresServer;
  let clickhouse: ClickHouseHttp;
  let redis: RedisServer;
  let receiver: HttpReceiver;
  let doomed: Server;
  let other: Server;
  let sender: NodeJS.Timeout | undefined;
  let headers: ReturnType<typeof bearer>;

  before(async () => {
    [postgres, clickhouse, redis, receiver] = await Promise.all([
      startPostgres(),
      ClickHouseHttp.start(join(folder, 'clickhouse-server')),
      startRedis(...DURABLE),
      HttpReceiver.start(),
    ]);
    const env = {
      ...{ DATABASE_URL: postgres.url, CLICKHOUSE_URL: clickhouse.url, REDIS_URL: redis.url },
      ...{ JWT_SECRET: 'j'.repeat(32), SECRET_KEY: 's'.repeat(32), NOTIFY_ALLOW_NETWORKS: '127.0.0.1' },
    };
    [doomed, other] = await Promise.all([
      Server.start(join(folder, 'one'), env),
      Server.start(join(folder, 'two'), env),
    ]);
    headers = bearer(doomed.key);
  });
  after(async () => {
    clearInterval(sender);
    await doomed.kill();
    await other.kill();
    await clickhouse.stop();
    await Promise.all([postgres.stop(), redis.stop(), receiver.close()]);
  });

  /** From now on the depth is this. */
  function send(asDouble: number): void {
    clearInterval(sender);
    const once = () => {
      const point = { timeUnixNano: `${Date.now()}000000`, asDouble };
      const metrics = [{ name: 'depth', unit: '1', gauge: { dataPoints: [point] } }];
      const request = { resourceMetrics: [{ resource: {}, scopeMetrics: [{ metrics }] }] };
      void sendOtlp(other.otlp, 'metrics', 'json', JSON.stringify(request)).catch(() => undefined);
    };
    once();
    sender = setInterval(once, 250);
  }

  async function wait(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
    for (const deadline = Date.now() + MAX_WAIT_MS; !(await isSo()); await sleep(50))
      assert.ok(Date.now() < deadline, what);
  }

  /** Ids of the notices of a kind, by rule: whatever a receiver knows again by its id is one. */
  function told(kind: string): Map<string, Set<string>> {
    const ids = new Map<string, Set<string>>();
    for (const notice of receiver.bodies() as Notice[])
      if (notice.kind === kind)
        ids.set(notice.rule.id, (ids.get(notice.rule.id) ?? new Set()).add(notice.id));
    return ids;
  }

  async function evaluations(server: Server): Promise<number> {
    const text = await (await fetch(`${server.api}/metrics`)).text();
    return Number(/^telemetryflow_alert_evaluations_total\{result="evaluated"\} (\d+)/m.exec(text)?.[1] ?? 0);
  }

  it('are told once and end once, though one of them is killed meanwhile', async () => {
    send(5);
    const post = (path: string, body: object) => succeed<{ id: string }>(doomed, 'POST', path, headers, body);
    const settings = { url: receiver.url() };
    const channels = [(await post('notification-channels', { name: 'hook', kind: 'webhook', settings })).id];
    const query = { signal: 'metrics', metric: 'depth', agg: 'last' };
    const rule = { query, warning: 10, interval: '10s', window: '10s', channels };
    const rules: string[] = [];
    // With windows of their own they are at other times, and one of them surely is while the other process dies.
    for (let i = 0; i < RULES; i++)
      rules.push((await post('alerts/rules', { ...rule, name: `depth ${i}`, window: `${10 + i}s` })).id);
    send(15);
    await wait('all fire', () => told('firing').size === RULES);
    await wait(
      'both evaluate',
      async () => (await evaluations(doomed)) > 0 && (await evaluations(other)) > 0,
    );
    assert.equal(receiver.received.length, RULES, 'while both live, each is told by one message');
    send(5);
    await wait('one ends', () => told('resolved').size > 0);
    await doomed.kill();
    await wait('all end', () => told('resolved').size === RULES);
    const before = await evaluations(other);
    await wait('they go on to be evaluated', async () => (await evaluations(other)) >= before + RULES);
    for (const kind of ['firing', 'resolved'])
      for (const id of rules) assert.equal(told(kind).get(id)?.size, 1, `${kind} ${id}`);
    for (const id of rules) {
      const path = `alerts/incidents?rule_id=${id}`;
      const { data } = await succeed<{ data: { state: string }[] }>(other, 'GET', path, headers);
      assert.deepEqual(
        data.map(({ state }) => state),
        ['resolved'],
      );
    }
  });
});
