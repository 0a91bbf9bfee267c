import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ClickHouseHttp } from '../../test/support/clickhouse-http.js';
import { ClickHouse } from './clickhouse.js';
import { clickHouseContract } from './clickhouse.suite.js';
import { isRetryable } from './clickhouse-errors.js';
import { nativeBlock } from './clickhouse-insert.suite.js';
import { ServerDriver } from './clickhouse-server.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-clickhouse-http-'));
const server = await ClickHouseHttp.start(folder);
const connect = (password = '') =>
  new ClickHouse(
    new ServerDriver({ url: server.url, username: 'default', password, database: 'contract' }),
    'contract',
  );
after(async () => {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

clickHouseContract('server over HTTP', async () => connect());

describe('a ClickHouse server in trouble', () => {
  const file = join(folder, 'block.native');
  let clickhouse: ClickHouse;
  const insert = (token: string) =>
    clickhouse.insertNative({
      table: 'troubled',
      constants: {},
      columns: ['n', 's'],
      structure: 'n UInt64, s String',
      file,
      deduplicationToken: token,
    });
  const failure = (promise: Promise<unknown>) =>
    promise.then(
      () => assert.fail('expected a rejection'),
      (error: unknown) => error,
    );
  const count = async () => {
    const { rows } = await clickhouse.read<{ n: string }>('SELECT count() AS n FROM troubled');
    return Number(rows[0].n);
  };

  before(async () => {
    clickhouse = connect();
    writeFileSync(file, nativeBlock([1, 2], ['a', 'b']));
    await clickhouse.command(`CREATE TABLE troubled (n UInt64, s String) ENGINE = MergeTree ORDER BY n
      SETTINGS non_replicated_deduplication_window = 100`);
  });
  afterEach(() => server.behave());
  after(() => clickhouse.close());

  it('that is away is down, and inserts are to be tried again', async () => {
    await server.stop('SIGKILL');
    const health = await clickhouse.health();
    assert.equal(health.status, 'down');
    assert.match(health.detail ?? '', /ECONNREFUSED/);
    assert.ok(isRetryable(await failure(insert('away'))));
    assert.ok(isRetryable(await failure(clickhouse.read('SELECT 1'))));
    await server.start();
    assert.deepEqual(await clickhouse.health(), { status: 'up' });
    await insert('away');
    assert.equal(await count(), 2);
  });

  it('that is killed in the middle of an insert has the block once after the repetition', async () => {
    const before = await count();
    for (let round = 0; round < 5; round++) {
      const token = `killed ${round}`;
      const first = insert(token).then(
        () => undefined,
        (error: unknown) => error,
      );
      await sleep(round * 4);
      await server.stop('SIGKILL');
      const error = await first;
      assert.ok(error === undefined || isRetryable(error), String(error));
      await server.start();
      await insert(token);
      assert.equal(await count(), before + 2 * (round + 1));
    }
  });

  it('behind a proxy that answers 502 or 503 is to be tried again', async () => {
    for (const status of [502, 503]) {
      await server.behave({ status });
      assert.ok(isRetryable(await failure(insert('proxied'))));
      assert.equal((await clickhouse.health()).status, 'down');
    }
  });

  it('that is slow delays its own callers only, and an abort does not wait for it', async () => {
    await server.behave({ delayMs: 1500 });
    const at = Date.now();
    const error = await failure(clickhouse.read('SELECT 1', {}, { signal: AbortSignal.timeout(100) }));
    assert.match(String(error), /abort|timeout/i);
    assert.ok(Date.now() - at < 1000);
    assert.deepEqual((await clickhouse.read('SELECT 1 AS one')).rows, [{ one: 1 }]);
  });

  it('that does not answer for 5 s is down', async () => {
    await server.behave({ delayMs: 60_000 });
    const at = Date.now();
    assert.equal((await clickhouse.health()).status, 'down');
    assert.ok(Date.now() - at < 7000);
    await server.stop('SIGKILL');
    await server.start();
  });

  it('that refuses the password says so, and inserts wait until it is put right', async () => {
    const wrong = connect('wrong');
    assert.match((await wrong.health()).detail ?? '', /Authentication failed/);
    assert.ok(isRetryable(await failure(wrong.command('SELECT 1'))));
    await wrong.close();
    const right = connect('right');
    assert.deepEqual(await right.health(), { status: 'up' });
    await right.close();
  });
});
