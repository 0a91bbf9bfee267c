import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { verifyOtlp } from '../src/verify/verify-otlp.js';
import { ClickHouseHttp } from './support/clickhouse-http.js';
import { getJson } from './support/http.js';
import { type PostgresServer, startPostgres } from './support/postgres-server.js';
import { makeDataDir, Program, Server } from './support/server.js';

/** The same program, given URLs: PostgreSQL is Debian's, ClickHouse the real engine behind its HTTP interface. */
describe('The program on servers', () => {
  const folder = makeDataDir();
  let postgres: PostgresServer;
  let clickhouse: ClickHouseHttp;
  let server: Server;

  before(async () => {
    [postgres, clickhouse] = await Promise.all([
      startPostgres(),
      ClickHouseHttp.start(join(folder, 'clickhouse-server')),
    ]);
    server = await Server.start(join(folder, 'data'), {
      DATABASE_URL: postgres.url,
      CLICKHOUSE_URL: clickhouse.url,
    });
  });
  after(async () => {
    await server.stop();
    await clickhouse.stop();
    await postgres.stop();
  });

  it('gives back every OTLP field exactly', async () => {
    const result = await verifyOtlp({ endpoint: server.otlp, api: server.api, key: server.key });
    assert.ok(result.compared > 10_000, `${result.compared} compared`);
    assert.equal(result.different, 0, result.report.join('\n').slice(0, 2000));
  });

  it('takes the keys that a command makes on the same PostgreSQL', async () => {
    const command = new Program(['keys', 'create', '--permissions', 'read'], { DATABASE_URL: postgres.url });
    assert.deepEqual(await command.exited, { code: 0, signal: null }, command.output);
    assert.equal((await getJson(`${server.api}/api/v1/services`, command.stdout.trim())).status, 200);
  });

  it('acknowledges while ClickHouse is away, says so, and stores once when it is back', async () => {
    await clickhouse.stop('SIGKILL');
    const traceId = 'c0ffee00c0ffee00c0ffee00c0ffee00';
    const time = `${Date.now()}000000`;
    const span = {
      traceId,
      spanId: 'c0ffee00c0ffee00',
      name: 'while away',
      startTimeUnixNano: time,
      endTimeUnixNano: time,
    };
    const accepted = await fetch(`${server.otlp}/v1/traces`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] }),
    });
    assert.equal(accepted.status, 200);
    const question = `${server.api}/api/v1/traces/${traceId}`;
    const ask = () => fetch(question, { headers: { authorization: `Bearer ${server.key}` } });
    assert.equal((await ask()).status, 503);
    assert.equal((await fetch(`${server.api}/health/ready`)).status, 503);
    assert.equal((await fetch(`${server.api}/health/live`)).status, 200);
    await sleep(1500);
    await clickhouse.start();
    let answer = await ask();
    for (let tries = 0; answer.status !== 200 && tries < 200; tries++) {
      await sleep(100);
      answer = await ask();
    }
    const { spans } = (await answer.json()) as { spans: unknown[] };
    assert.equal(spans.length, 1);
  });
});
