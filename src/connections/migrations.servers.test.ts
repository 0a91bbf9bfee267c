import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ClickHouseHttp } from '../../test/support/clickhouse-http.js';
import { type PostgresServer, startPostgres } from '../../test/support/postgres-server.js';
import { StartupError } from '../errors.js';
import { ClickHouse } from './clickhouse.js';
import { ServerDriver } from './clickhouse-server.js';
import { migrate } from './migrations.js';
import { openPostgres } from './postgres.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-migrations-'));
after(() => rmSync(folder, { recursive: true, force: true }));

describe('migrations on servers', () => {
  let server: PostgresServer;
  let clickhouseServer: ClickHouseHttp;
  const files = join(folder, 'servers');
  const connect = async (database: string) => {
    const postgres = await openPostgres({ DATA_DIR: folder, DATABASE_URL: server.url });
    const options = { url: clickhouseServer.url, username: 'default', password: '', database };
    return { postgres, clickhouse: new ClickHouse(new ServerDriver(options), database) };
  };

  before(async () => {
    server = await startPostgres();
    clickhouseServer = await ClickHouseHttp.start(join(folder, 'clickhouse-server'));
    for (const database of ['postgres', 'clickhouse']) mkdirSync(join(files, database), { recursive: true });
  });
  after(async () => {
    await server.stop();
    await clickhouseServer.stop();
  });

  it('are applied once when five processes start at the same time', async () => {
    // Neither file bears being run twice.
    writeFileSync(
      join(files, 'postgres', '001_a.sql'),
      'CREATE TABLE a (n integer); INSERT INTO a VALUES (1)',
    );
    const table = 'CREATE TABLE a (n UInt8) ENGINE = MergeTree ORDER BY n';
    writeFileSync(join(files, 'clickhouse', '001_a.sql'), `${table}; INSERT INTO a VALUES (1)`);
    const starts = await Promise.all(Array.from({ length: 5 }, () => connect('raced')));
    await Promise.all(starts.map(({ postgres, clickhouse }) => migrate(postgres, clickhouse, files)));
    assert.deepEqual(await starts[0].postgres.query('SELECT n FROM a'), [{ n: 1 }]);
    assert.deepEqual((await starts[0].clickhouse.read('SELECT n FROM a')).rows, [{ n: 1 }]);
    for (const { postgres, clickhouse } of starts) {
      await clickhouse.close();
      await postgres.close();
    }
  });

  it('say that ClickHouse is away, and apply when it is back', async () => {
    const { postgres, clickhouse } = await connect('away');
    await clickhouseServer.stop('SIGKILL');
    await assert.rejects(migrate(postgres, clickhouse, files), (error: Error) => {
      assert.ok(error instanceof StartupError);
      assert.match(error.message, /ClickHouse cannot be reached \(CLICKHOUSE_URL\)/);
      return true;
    });
    await clickhouseServer.start();
    await migrate(postgres, clickhouse, files);
    assert.deepEqual((await clickhouse.read('SELECT n FROM a')).rows, [{ n: 1 }]);
    await clickhouse.close();
    await postgres.close();
  });
});
