import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type PostgresServer, startPostgres } from '../../test/support/postgres-server.js';
import { openPostgres } from './postgres.js';
import { postgresContract } from './postgres.suite.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-postgres-test-'));
after(() => rmSync(folder, { recursive: true, force: true }));

describe('a PostgreSQL server', () => {
  let server: PostgresServer;
  before(async () => {
    server = await startPostgres();
  });
  after(() => server.stop());

  postgresContract('server', () => openPostgres({ DATA_DIR: folder, DATABASE_URL: server.url }));

  it('that crashes under the pool is down only while it is', async () => {
    const postgres = await openPostgres({ DATA_DIR: folder, DATABASE_URL: server.url });
    await Promise.all(Array.from({ length: 10 }, () => postgres.query('SELECT pg_sleep(0.05)')));
    await server.crash();
    for (let attempt = 0; (await postgres.health()).status !== 'up'; attempt++) assert.ok(attempt < 20);
    await postgres.close();
  });

  it('that is not there is told by its address', async () => {
    const url = 'postgres://nobody@127.0.0.1:1/none';
    await assert.rejects(
      openPostgres({ DATA_DIR: folder, DATABASE_URL: url }),
      /cannot be reached \(DATABASE_URL\): .*ECONNREFUSED/,
    );
  });
});
