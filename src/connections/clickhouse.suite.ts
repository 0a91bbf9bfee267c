import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ClickHouseError, TupleParam } from '@clickhouse/client';
import fc from 'fast-check';
import type { ClickHouse, ReadOptions } from './clickhouse.js';
import { isTooExpensive } from './clickhouse-errors.js';
import { independenceContract, insertContract, rejection } from './clickhouse-insert.suite.js';

const code = (error: unknown) => (error instanceof ClickHouseError ? error.code : String(error));

/** What every ClickHouse, embedded or on a server, promises. */
export function clickHouseContract(name: string, open: () => Promise<ClickHouse>): void {
  describe(`ClickHouse (${name})`, () => {
    let clickhouse: ClickHouse;
    const folder = mkdtempSync(join(tmpdir(), 'tf-native-'));

    before(async () => {
      clickhouse = await open();
      await clickhouse.ensureDatabase();
      await clickhouse.command('CREATE TABLE numbers (n UInt64) ENGINE = MergeTree ORDER BY n');
      await clickhouse.command('INSERT INTO numbers SELECT number FROM numbers(100000)');
    });
    after(async () => {
      await clickhouse.close();
      rmSync(folder, { recursive: true, force: true });
    });

    readContract(() => clickhouse);
    limitContract(() => clickhouse);
    refusalContract(() => clickhouse);
    insertContract(() => clickhouse, folder);
    independenceContract(() => clickhouse, folder);
  });
}

function readContract(clickhouse: () => ClickHouse): void {
  describe('read', () => {
    it('gives rows as objects, 64-bit integers as strings unless asked for numbers', async () => {
      const query = "SELECT 18446744073709551615 AS big, 7::UInt32 AS small, 'x' AS text, [1, 2] AS list";
      assert.deepEqual((await clickhouse().read(query)).rows, [
        { big: '18446744073709551615', small: 7, text: 'x', list: [1, 2] },
      ]);
      const settings = { output_format_json_quote_64bit_integers: 0 as const };
      assert.deepEqual((await clickhouse().read('SELECT 42::Int64 AS n', {}, { settings })).rows, [
        { n: 42 },
      ]);
    });

    it('tells what the engine read', async () => {
      const { rowsRead, bytesRead, elapsedMs } = await clickhouse().read('SELECT sum(n) FROM numbers');
      assert.equal(rowsRead, 100_000);
      assert.equal(bytesRead, 800_000);
      assert.ok(elapsedMs > 0 && elapsedMs < 10_000, String(elapsedMs));
    });

    it('takes every kind of parameter', async () => {
      const query = `SELECT {text:String} AS text, {big:UInt64} AS big, {negative:Int64} AS negative,
        {fraction:Float64} AS fraction, {flag:Bool} AS flag, {nothing:Nullable(String)} AS nothing,
        {when:DateTime64(3, 'UTC')} AS when, {texts:Array(String)} AS texts, {bigs:Array(UInt64)} AS bigs,
        {map:Map(String, String)} AS map, {pair:Tuple(UInt8, String)} AS pair`;
      const parameters = {
        text: 'it\'s a \\ "test" {text:String} -- ; \n\t é 漢 🙂',
        big: '18446744073709551615',
        negative: -9223372036854775808n,
        fraction: 1.5,
        flag: true,
        nothing: null,
        when: new Date('2024-02-03T04:05:06.789Z'),
        texts: ["a'b", 'c\\d', ''],
        bigs: [1n, 18446744073709551615n],
        map: { "k'": 'v' },
        pair: new TupleParam([7, "p'q"]),
      };
      const { rows } = await clickhouse().read<Record<string, unknown>>(query, parameters);
      assert.deepEqual(rows[0], {
        ...parameters,
        negative: '-9223372036854775808',
        bigs: ['1', '18446744073709551615'],
        when: '2024-02-03 04:05:06.789',
        pair: [7, "p'q"],
      });
    });

    it('gives any text back as it was', async () => {
      const property = fc.asyncProperty(fc.string({ unit: 'binary', maxLength: 40 }), async (text) => {
        const { rows } = await clickhouse().read<{ t: string }>('SELECT {t:String} AS t', { t: text });
        assert.equal(rows[0].t, Buffer.from(text).toString());
      });
      await fc.assert(property, { numRuns: 100 });
    });

    it('puts parameters where names and LIMIT stand, and leaves strings and comments alone', async () => {
      const query = `SELECT {column:Identifier} AS c, '{n:UInt8}' AS s /* {n:UInt8} */ FROM numbers -- {n:UInt8}
        ORDER BY n LIMIT {n:UInt8} OFFSET {from:UInt32}`;
      const { rows } = await clickhouse().read(query, { column: 'n', n: 2, from: 5 });
      assert.deepEqual(rows, [
        { c: '5', s: '{n:UInt8}' },
        { c: '6', s: '{n:UInt8}' },
      ]);
    });

    it('says what is wrong with ClickHouse’s own code', async () => {
      assert.equal(code(await rejection(clickhouse().read('SELECT * FROM no_such_table'))), '60');
      assert.equal(code(await rejection(clickhouse().read('SELECT * FORM numbers'))), '62');
      const error = (await rejection(clickhouse().read('SELECT nope FROM numbers'))) as ClickHouseError;
      assert.equal(error.type, 'UNKNOWN_IDENTIFIER');
    });
  });
}

function limitContract(clickhouse: () => ClickHouse): void {
  describe('limits of one read', () => {
    it('time, memory and size are kept, and told from other errors', async () => {
      const limits: [string, string, ReadOptions][] = [
        ['159', 'SELECT count() FROM system.numbers', { maxExecutionSeconds: 1 }],
        [
          '241',
          'SELECT length(groupArray(number)) FROM numbers(100000000)',
          { settings: { max_memory_usage: '50000000' } },
        ],
        ['396', 'SELECT n FROM numbers', { settings: { max_result_rows: '1000' } }],
        ['158', 'SELECT sum(n) FROM numbers', { settings: { max_rows_to_read: '10' } }],
      ];
      for (const [expected, query, options] of limits) {
        const error = await rejection(clickhouse().read(query, {}, options));
        assert.equal(code(error), expected, String(error));
        assert.ok(isTooExpensive(error));
      }
      assert.ok(!isTooExpensive(await rejection(clickhouse().read('SELECT * FROM no_such_table'))));
    });

    it('do not leak into other reads, at once or after', async () => {
      const asked = Array.from({ length: 40 }, async (_, index) => {
        const settings = index % 2 === 0 ? { max_block_size: String(1000 + index) } : {};
        const query = "SELECT getSetting('max_block_size') AS size, sleep(0.01) FROM system.one";
        const { rows } = await clickhouse().read<{ size: string }>(query, {}, { settings });
        assert.equal(Number(rows[0].size) === 1000 + index, index % 2 === 0, `${index}: ${rows[0].size}`);
      });
      await Promise.all(asked);
    });

    it('an abort rejects at once and ends the query in the engine', async () => {
      const marker = `marker${Date.now()}`;
      const controller = new AbortController();
      const query = `SELECT sum(sleepEachRow(0.05)), '${marker}' FROM numbers`;
      const settings = {
        max_block_size: '1',
        max_threads: 1,
        function_sleep_max_microseconds_per_block: '0',
      };
      const read = rejection(clickhouse().read(query, {}, { signal: controller.signal, settings }));
      await sleep(300);
      // Counted by a command, since a small pool may have no second session for reads.
      const listed = `FROM system.processes WHERE query LIKE '%${marker}%' AND query NOT LIKE '%system.processes%'`;
      await clickhouse().command(`CREATE TABLE seen ENGINE = Memory AS SELECT count() AS n ${listed}`);
      const at = Date.now();
      controller.abort();
      assert.match(String(await read), /abort/i);
      assert.ok(Date.now() - at < 200);
      const running = async () =>
        (await clickhouse().read<{ n: string }>(`SELECT count() AS n ${listed}`)).rows[0].n;
      for (let attempt = 0; (await running()) !== '0'; attempt++) {
        assert.ok(attempt < 20, 'the query still runs');
        await sleep(100);
      }
      assert.deepEqual((await clickhouse().read('SELECT n FROM seen')).rows, [{ n: '1' }]);
      const early = await rejection(clickhouse().read('SELECT 1', {}, { signal: AbortSignal.abort() }));
      assert.match(String(early), /abort/i);
    });

    it('a failed read leaves nothing behind for the next one', async () => {
      const failing = 'SELECT n, throwIf(n = 90000) FROM numbers ORDER BY n';
      const settings = { max_block_size: '1000', max_threads: 1 };
      const mixed = Array.from({ length: 60 }, async (_, index) => {
        if (index % 3 === 0) {
          assert.equal(code(await rejection(clickhouse().read(failing, {}, { settings }))), '395');
        } else {
          const { rows } = await clickhouse().read('SELECT {i:UInt32} AS i', { i: index });
          assert.deepEqual(rows, [{ i: index }]);
        }
      });
      await Promise.all(mixed);
    });
  });
}

function refusalContract(clickhouse: () => ClickHouse): void {
  describe('a read', () => {
    const refused = [
      'INSERT INTO numbers VALUES (1)',
      'INSERT INTO numbers SELECT 1',
      'DROP TABLE numbers',
      'TRUNCATE TABLE numbers',
      'ALTER TABLE numbers DELETE WHERE 1',
      'OPTIMIZE TABLE numbers',
      'CREATE TABLE made (n UInt8) ENGINE = Memory',
      'CREATE TEMPORARY TABLE made (n UInt8)',
      'SET max_execution_time = 1',
      'SYSTEM STOP MERGES',
      'KILL QUERY WHERE 1',
      'USE system',
      'SELECT 1; DROP TABLE numbers',
      "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
      "SELECT * FROM remote('127.0.0.1:1', 'system', 'one')",
      "SELECT * FROM executable('/bin/true', 'TSV', 'a String')",
      'SELECT 1 SETTINGS readonly = 0, max_execution_time = 1000',
      'SELECT * FROM (SELECT 1 SETTINGS readonly = 0)',
      'WITH 1 AS x INSERT INTO numbers SELECT x',
    ];
    for (const statement of refused) {
      it(`does not run ${statement}`, async () => {
        const error = await rejection(clickhouse().read(statement));
        assert.ok(error instanceof TypeError || ['62', '164'].includes(code(error)), String(error));
        const { rows } = await clickhouse().read('SELECT count() AS n FROM numbers');
        assert.deepEqual(rows, [{ n: '100000' }]);
      });
    }
  });
}
