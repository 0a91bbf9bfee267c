import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Postgres } from './postgres.js';

/** What every PostgreSQL, embedded or a server, promises. */
export function postgresContract(name: string, open: () => Promise<Postgres>): void {
  describe(`PostgreSQL (${name})`, () => {
    let postgres: Postgres;
    before(async () => {
      postgres = await open();
      await postgres.query(
        'CREATE TABLE accounts (id integer PRIMARY KEY, balance integer NOT NULL CHECK (balance >= 0))',
      );
      await postgres.query('INSERT INTO accounts SELECT n, 100 FROM generate_series(1, 10) AS n');
    });
    after(() => postgres.close());

    it('is up', async () => {
      assert.deepEqual(await postgres.health(), { status: 'up' });
    });

    it('takes and gives values of every kind', async () => {
      const sql = `SELECT $1::text AS text, $2::bigint AS big, $3::timestamptz AS at, $4::jsonb AS json, $5::bytea AS bytes`;
      const at = new Date('2024-02-03T04:05:06.789Z');
      const values = ["it's \\ ; $1", '9223372036854775807', at, { a: ['é🙂'] }, Buffer.from([0, 255])];
      const [row] = await postgres.query<Record<string, unknown>>(sql, values);
      assert.deepEqual(row, { text: values[0], big: values[1], at, json: values[3], bytes: values[4] });
    });

    it('answers 50 callers at once, each with its own rows', async () => {
      const calls = Array.from({ length: 50 }, async (_, n) => {
        const [row] = await postgres.query<{ n: number }>('SELECT $1::integer AS n', [n]);
        assert.equal(row.n, n);
      });
      await Promise.all(calls);
    });

    it('keeps transactions apart and whole', async () => {
      const transfers = Array.from({ length: 40 }, (_, index) =>
        postgres.dataSource
          .transaction(async (manager) => {
            const [from, to] = [(index % 10) + 1, ((index + 3) % 10) + 1];
            await manager.query('UPDATE accounts SET balance = balance - 30 WHERE id = $1', [from]);
            await manager.query('UPDATE accounts SET balance = balance + 30 WHERE id = $1', [to]);
            if (index % 4 === 0) throw new Error('changed my mind');
          })
          .catch((error: Error) => assert.match(error.message, /changed my mind|balance_check|deadlock/)),
      );
      await Promise.all(transfers);
      const [{ total }] = await postgres.query<{ total: string }>(
        'SELECT sum(balance) AS total FROM accounts',
      );
      assert.equal(total, '1000');
    });

    it('says what is wrong with PostgreSQL’s own code, and goes on', async () => {
      await assert.rejects(postgres.query('SELECT * FROM nowhere'), { code: '42P01' });
      const again = postgres.query('INSERT INTO accounts VALUES (1, 1)');
      await assert.rejects(again, { code: '23505' });
      assert.deepEqual(await postgres.query('SELECT 1 AS one'), [{ one: 1 }]);
    });
  });
}
