import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClickHouse } from './clickhouse.js';
import { isRetryable } from './clickhouse-errors.js';
import type { NativeInsert } from './clickhouse-statement.js';

/** A Native block of one UInt64 and one String column, built by hand: ClickHouse's NativeFormat documentation. */
export function nativeBlock(numbers: number[], texts: string[]): Buffer {
  const varint = (value: number): number[] =>
    value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)];
  const string = (text: string) => {
    const bytes = Buffer.from(text);
    return Buffer.concat([Buffer.from(varint(bytes.length)), bytes]);
  };
  const fixed = Buffer.alloc(numbers.length * 8);
  for (const [index, value] of numbers.entries()) fixed.writeBigUInt64LE(BigInt(value), index * 8);
  return Buffer.concat([
    Buffer.from([...varint(2), ...varint(numbers.length)]),
    string('n'),
    string('UInt64'),
    fixed,
    string('s'),
    string('String'),
    ...texts.map(string),
  ]);
}

/** What a promise that must be rejected is rejected with. */
export const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => assert.fail('expected a rejection'),
    (error: unknown) => error,
  );

/** Inserts of Native blocks. */
export function insertContract(clickhouse: () => ClickHouse, folder: string): void {
  describe('insertNative', () => {
    let files = 0;
    const block = (numbers: number[], texts: string[]) => {
      const file = join(folder, `${files++}.native`);
      writeFileSync(file, nativeBlock(numbers, texts));
      return file;
    };
    const insert = (file: string, token: string, change: Partial<NativeInsert> = {}) =>
      clickhouse().insertNative({
        table: 'target',
        constants: { tenant: "it's \\ me" },
        columns: ['n', 's'],
        structure: 'n UInt64, s String',
        file,
        deduplicationToken: token,
        ...change,
      });

    before(async () => {
      const window = 'SETTINGS non_replicated_deduplication_window = 100';
      await clickhouse().command(`CREATE TABLE target (tenant LowCardinality(String), n UInt64,
        s LowCardinality(String), untold UInt8 DEFAULT 5) ENGINE = MergeTree PARTITION BY intDiv(n, 1000) ORDER BY n ${window}`);
      await clickhouse().command(`CREATE TABLE sums (tenant String, total UInt64)
        ENGINE = SummingMergeTree ORDER BY tenant ${window}`);
      await clickhouse().command(
        'CREATE MATERIALIZED VIEW view TO sums AS SELECT tenant, sum(n) AS total FROM target GROUP BY tenant',
      );
    });

    it('stores the rows with the constants, leaving other columns at their defaults', async () => {
      await insert(block([1, 2], ['a', "b'c"]), 'first');
      const { rows } = await clickhouse().read('SELECT * FROM target ORDER BY n');
      assert.deepEqual(rows, [
        { tenant: "it's \\ me", n: '1', s: 'a', untold: 5 },
        { tenant: "it's \\ me", n: '2', s: "b'c", untold: 5 },
      ]);
    });

    it('stores a block once per token, in the table and in its views', async () => {
      const file = block([10, 20], ['x', 'y']);
      for (const token of ['once', 'once', 'again', 'once'])
        await insert(file, token, { constants: { tenant: 'dedup' } });
      const { rows } = await clickhouse().read(`SELECT count() AS n,
        (SELECT sum(total) FROM sums WHERE tenant = 'dedup') AS total FROM target WHERE tenant = 'dedup'`);
      assert.deepEqual(rows, [{ n: '4', total: '60' }]);
    });

    it('keeps a large block whole: one part, and known again', async () => {
      const file = join(folder, 'large.native');
      const count = 300_000;
      writeFileSync(
        file,
        nativeBlock(
          Array.from({ length: count }, () => 5000),
          Array.from({ length: count }, () => 'same'),
        ),
      );
      for (const token of ['large', 'large']) await insert(file, token, { constants: { tenant: 'large' } });
      const sql = "SELECT count() AS n, uniqExact(_part) AS parts FROM target WHERE tenant = 'large'";
      assert.deepEqual((await clickhouse().read(sql)).rows, [{ n: String(count), parts: '1' }]);
    });

    it('tells the data’s fault from the store’s', async () => {
      const good = block([1], ['a']);
      const truncated = join(folder, 'truncated.native');
      writeFileSync(truncated, nativeBlock([1, 2, 3], ['a', 'b', 'c']).subarray(0, 30));
      const garbage = join(folder, 'garbage.native');
      writeFileSync(garbage, Buffer.from('this is no Native block at all, whatever it says'));
      const wide = block(
        Array.from({ length: 200 }, (_, index) => index * 1000),
        Array.from({ length: 200 }, () => 'p'),
      );
      const cases: [string, boolean, () => Promise<void>][] = [
        ['truncated', false, () => insert(truncated, 't1')],
        ['garbage', false, () => insert(garbage, 't2')],
        ['too many partitions', false, () => insert(wide, 't3')],
        ['missing file', false, () => insert(join(folder, 'missing.native'), 't4')],
        ['wrong type', false, () => insert(good, 't5', { structure: 'n Array(String), s String' })],
        ['missing table', true, () => insert(good, 't6', { table: 'not_there_yet' })],
        ['missing column', true, () => insert(good, 't7', { constants: { not_there_yet: 'x' } })],
      ];
      for (const [name, expected, attempt] of cases) {
        const error = await rejection(attempt());
        assert.equal(isRetryable(error), expected, `${name}: ${(error as Error).message}`);
      }
      await insert(good, 't8');
    });

    it('leaves the official client’s own insert working', async () => {
      await clickhouse().command('CREATE TABLE plain (n UInt64, s String) ENGINE = MergeTree ORDER BY n');
      await clickhouse().command("INSERT INTO plain VALUES (1, 'a;b')");
      assert.deepEqual((await clickhouse().read('SELECT * FROM plain')).rows, [{ n: '1', s: 'a;b' }]);
    });
  });
}

/** Neither ever waits for the other. */
export function independenceContract(clickhouse: () => ClickHouse, folder: string): void {
  describe('reads and inserts', () => {
    it('do not wait for one another', async () => {
      const file = join(folder, 'independent.native');
      writeFileSync(file, nativeBlock([1], ['a']));
      const insert = (table: string) =>
        clickhouse().insertNative({
          table,
          constants: {},
          columns: ['n', 's'],
          structure: 'n UInt64, s String',
          file,
          deduplicationToken: `${table}${Math.random()}`,
        });
      await clickhouse().command('CREATE TABLE quick (n UInt64, s String) ENGINE = MergeTree ORDER BY n');
      await clickhouse().command(`CREATE TABLE sleepy (n UInt64, s String, slept UInt8 DEFAULT sleepEachRow(1.5))
        ENGINE = MergeTree ORDER BY n`);
      const slowRead = () => clickhouse().read('SELECT sleep(1.5)');
      const atOnce = clickhouse().stats().reads?.size ?? 4;
      const reads = Array.from({ length: atOnce }, slowRead);
      const inserts = [insert('sleepy'), insert('sleepy')];
      await sleep(100);
      const at = Date.now();
      await insert('quick');
      const insertMs = Date.now() - at;
      await Promise.all(reads);
      const readsMs = Date.now() - at;
      await Promise.all(inserts);
      assert.ok(insertMs < 700, `an insert took ${insertMs} ms beside slow reads and inserts`);
      assert.ok(readsMs < 2800, `${atOnce} reads of 1.5 s took ${readsMs} ms beside inserts`);
    });
  });
}
