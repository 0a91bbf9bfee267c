import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Client } from 'pg';
import { openPglite } from './pglite.js';
import { openPostgres, type Postgres } from './postgres.js';

const ROWS = 50;
const ROUNDS = 300;
const folder = mkdtempSync(join(tmpdir(), 'tf-pglite-turns-'));
let postgres: Postgres;

before(async () => {
  postgres = await openPostgres({ DATA_DIR: folder, DATABASE_URL: undefined });
  await postgres.query('CREATE TABLE test_rows (id integer PRIMARY KEY, name text NOT NULL)');
  for (let id = 0; id < ROWS; id++)
    await postgres.query('INSERT INTO test_rows VALUES ($1, $2)', [id, `row ${id}`]);
});
after(async () => {
  await postgres.close();
  rmSync(folder, { recursive: true, force: true });
});

const UPDATE = `WITH updated AS (UPDATE test_rows SET name = name WHERE id = $1 RETURNING id) SELECT id FROM updated`;

describe('Clients of the embedded PostgreSQL, several at once', () => {
  it('each get the answers to their own statements, within transactions and without', async () => {
    const client = async (seed: number) => {
      for (let round = 0; round < ROUNDS; round++) {
        const id = (round * 7 + seed * 13) % ROWS;
        if (round % 7 === seed)
          await postgres.dataSource.transaction(async (manager) => {
            const locked = 'SELECT id FROM test_rows WHERE id = $1 FOR UPDATE';
            assert.deepEqual(await manager.query(locked, [id]), [{ id }]);
            assert.deepEqual(await manager.query(UPDATE, [id]), [{ id }]);
          });
        else if (round % 2 === 0) assert.deepEqual(await postgres.query(UPDATE, [id]), [{ id }]);
        else {
          const sql = 'SELECT name, $2::text AS given FROM test_rows WHERE id = $1';
          assert.deepEqual(await postgres.query(sql, [id, `${seed}`]), [
            { name: `row ${id}`, given: `${seed}` },
          ]);
        }
      }
    };
    await Promise.all([0, 1, 2, 3, 4].map(client));
  });

  it('are not held up by one that leaves in the middle of a transaction, or of a statement that failed', async () => {
    const directory = join(folder, 'other');
    const { socketDirectory, close } = await openPglite(directory, 5);
    const connect = async () => {
      const client = new Client({ host: socketDirectory, user: 'postgres', database: 'postgres' });
      client.on('error', () => undefined);
      await client.connect();
      return client;
    };
    const [leaving, failing, staying] = [await connect(), await connect(), await connect()];
    await leaving.query('BEGIN');
    await leaving.query('CREATE TABLE never (id integer)');
    const waits = staying.query(`SELECT to_regclass('never') AS found, $1::text AS given`, ['x']);
    // Cut, without a goodbye.
    (leaving as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
    assert.deepEqual((await waits).rows, [{ found: null, given: 'x' }]);
    await assert.rejects(failing.query('SELECT 1 / $1::integer AS n', [0]), /division by zero/);
    assert.deepEqual((await staying.query('SELECT $1::integer AS n', [7])).rows, [{ n: 7 }]);
    await Promise.all([failing.end(), staying.end()]);
    await close();
  });
});
