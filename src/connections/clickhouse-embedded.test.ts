import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ClickHouseError } from '@clickhouse/client';
import { loadConfig } from '../config.js';
import { ClickHouse } from './clickhouse.js';
import { clickHouseContract } from './clickhouse.suite.js';
import { EmbeddedDriver, readSessions } from './clickhouse-embedded.js';
import { PASSING } from './clickhouse-errors.js';
import { nativeBlock } from './clickhouse-insert.suite.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-embedded-'));
const MEMORY_LIMIT_BYTES = 1024 ** 3;
const open = async () =>
  new ClickHouse(
    await EmbeddedDriver.open({
      DATA_DIR: folder,
      CLICKHOUSE_DATABASE: 'contract',
      MEMORY_LIMIT: MEMORY_LIMIT_BYTES,
      threadPoolSize: loadConfig().threadPoolSize,
    }),
    'contract',
  );
after(() => rmSync(folder, { recursive: true, force: true }));

clickHouseContract('embedded', open);

describe('the embedded engine', () => {
  let clickhouse: ClickHouse;
  before(async () => {
    clickhouse = await open();
  });
  after(() => clickhouse.close());

  it('opens again in the same process what it had stored', async () => {
    const { rows } = await clickhouse.read('SELECT count() AS n FROM numbers');
    assert.deepEqual(rows, [{ n: '100000' }]);
  });

  it('lets a read reach no file', async () => {
    const target = join(folder, 'out.csv');
    for (const query of [
      "SELECT file('/etc/passwd')",
      `SELECT * FROM file('/etc/passwd', 'LineAsString')`,
      `SELECT 1 INTO OUTFILE '${target}'`,
    ]) {
      await assert.rejects(clickhouse.read(query), TypeError);
      await assert.rejects(clickhouse.client.query({ query, format: 'JSON' }), TypeError);
    }
    // The engine itself refuses the table function too, should the first wall ever have a gap.
    const spelled = clickhouse.read("SELECT * FROM `file`('/etc/passwd', 'LineAsString')");
    await assert.rejects(spelled, (error: ClickHouseError) => error.code === '164');
    assert.ok(!existsSync(target));
  });

  it('never gives a failed query’s rows to the next caller', async () => {
    const failing = () =>
      assert.rejects(
        clickhouse.read(
          'SELECT n, throwIf(n = 90000) FROM numbers',
          {},
          { settings: { max_block_size: '500' } },
        ),
      );
    const discarded = clickhouse.stats().reads!.discarded;
    for (let round = 0; round < 5; round++) {
      await Promise.all(Array.from({ length: 8 }, failing));
      assert.deepEqual((await clickhouse.read("SELECT 'clean' AS a")).rows, [{ a: 'clean' }]);
    }
    assert.equal(clickhouse.stats().reads!.discarded - discarded, 40);
  });

  it('lets a waiting read be aborted, and the others have their turn', async () => {
    const { size } = clickhouse.stats().reads!;
    const slow = Array.from({ length: size }, () => clickhouse.read('SELECT sleep(1)'));
    const controller = new AbortController();
    const aborted = clickhouse.read('SELECT 1', {}, { signal: controller.signal });
    const patient = clickhouse.read('SELECT 2 AS two');
    assert.equal(clickhouse.stats().reads!.waiting, 2);
    controller.abort();
    await assert.rejects(aborted, /abort/i);
    assert.equal(clickhouse.stats().reads!.waiting, 1);
    assert.deepEqual((await patient).rows, [{ two: 2 }]);
    await Promise.all(slow);
  });

  it('gives the memory of failed answers back', async () => {
    const settings = { max_result_bytes: '20000000', max_block_size: '10000' };
    const failing = () =>
      assert.rejects(
        clickhouse.read("SELECT n, repeat('x', 500 + n % 2) AS x FROM numbers", {}, { settings }),
      );
    for (let round = 0; round < 5; round++) await failing();
    const before = process.memoryUsage.rss();
    const long = clickhouse.read('SELECT sleep(3) FROM system.one');
    for (let round = 0; round < 80; round++) await failing();
    const grownMb = (process.memoryUsage.rss() - before) / 1e6;
    await long;
    assert.ok(grownMb < 500, `grew by ${grownMb} MB over 80 answers of 20 MB`);
  });

  it('keeps settings of a command to that command', async () => {
    const limited = { max_execution_time: 7 };
    await clickhouse.client.command({
      query: 'CREATE TABLE a (n UInt8) ENGINE = Memory',
      clickhouse_settings: limited,
    });
    await clickhouse.command(
      "CREATE TABLE b ENGINE = Memory AS SELECT getSetting('max_execution_time') AS seconds",
    );
    assert.deepEqual((await clickhouse.read('SELECT seconds FROM b')).rows, [{ seconds: 0 }]);
  });

  it('takes rows in any format through client.insert()', async () => {
    await clickhouse.command('CREATE TABLE rows (n UInt64, s String) ENGINE = MergeTree ORDER BY n');
    const values = [
      { n: 1, s: "a'b\\c\nd" },
      { n: 2, s: '' },
    ];
    await clickhouse.client.insert({ table: 'rows', values, format: 'JSONEachRow' });
    const { rows } = await clickhouse.read('SELECT toUInt32(n) AS n, s FROM rows ORDER BY n');
    assert.deepEqual(rows, values);
  });

  it('fails what needs more memory than its share instead of growing', async () => {
    const before = process.memoryUsage.rss();
    const hungry = 'SELECT length(groupArray(toString(number))) FROM numbers(200000000)';
    const settings = { max_memory_usage: String(10 * MEMORY_LIMIT_BYTES) };
    await assert.rejects(clickhouse.read(hungry), (error: ClickHouseError) => error.code === '241');
    await assert.rejects(
      clickhouse.read(hungry, {}, { settings }),
      (error: ClickHouseError) => error.code === '241',
    );
    const insert = 'INSERT INTO numbers SELECT length(groupArray(toString(number))) FROM numbers(200000000)';
    await assert.rejects(clickhouse.command(insert), (error: ClickHouseError) => error.code === '241');
    assert.ok(process.memoryUsage.rss() - before < MEMORY_LIMIT_BYTES);
  });

  it('names its passing errors as the engine does', async () => {
    for (const [code, name] of Object.entries(PASSING)) {
      const { rows } = await clickhouse.read('SELECT errorCodeToName({code:UInt32}) AS name', { code });
      assert.deepEqual(rows, [{ name }], code);
    }
  });

  it('keeps the event loop free while it works', async () => {
    let longestMs = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      longestMs = Math.max(longestMs, performance.now() - last);
      last = performance.now();
    }, 5);
    await clickhouse.read('SELECT sum(sipHash64(number)) FROM numbers(50000000)');
    clearInterval(timer);
    assert.ok(longestMs < 250, `the loop stood still for ${longestMs} ms`);
  });

  it('leaves threads to inserts and files however small the pool is', () => {
    assert.deepEqual([4, 8, 10, 16, 64].map(readSessions), [1, 1, 3, 4, 4]);
  });
});

describe('closing the embedded engine', () => {
  it('ends reads at once and lets inserts finish', async () => {
    const clickhouse = await open();
    await clickhouse.command('CREATE TABLE finished (n UInt64, s String) ENGINE = MergeTree ORDER BY n');
    const read = assert.rejects(
      clickhouse.read(
        'SELECT sum(sleepEachRow(0.05)) FROM numbers',
        {},
        {
          settings: { max_block_size: '1', function_sleep_max_microseconds_per_block: '0' },
        },
      ),
    );
    const insert = clickhouse.command(
      'INSERT INTO finished SELECT sleepEachRow(0.5), toString(number) FROM numbers(4)',
    );
    await sleep(200);
    const at = Date.now();
    await clickhouse.close();
    assert.ok(Date.now() - at < 4000);
    await read;
    await insert;
    await assert.rejects(clickhouse.read('SELECT 1'), /closed/);
    const again = await open();
    assert.deepEqual((await again.read('SELECT count() AS n FROM finished')).rows, [{ n: '4' }]);
    await again.close();
  });
});

describe('an engine killed while it inserts', () => {
  it('has every acknowledged block once after the restart', async () => {
    const data = mkdtempSync(join(tmpdir(), 'tf-embedded-kill-'));
    const script = fileURLToPath(new URL('../../test/support/clickhouse-writer.js', import.meta.url));
    writeFileSync(join(data, 'block.native'), nativeBlock([1, 2, 3], ['a', 'b', 'c']));
    let acknowledged = 0;
    for (let round = 0; round < 3; round++) {
      const child = spawn(process.execPath, [script, data, String(acknowledged)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const exited = new Promise((resolve) => child.once('exit', resolve));
      let lines = 0;
      for await (const chunk of child.stdout) {
        lines += (chunk as Buffer).toString().split('\n').length - 1;
        if (lines >= 20 + round * 7) child.kill('SIGKILL');
      }
      await exited;
      acknowledged += lines;
    }
    const check = spawn(process.execPath, [script, data, 'count'], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    for await (const chunk of check.stdout) output += chunk;
    const [rows, blocks] = output.split(' ').map(Number);
    assert.ok(acknowledged >= 60, `only ${acknowledged} inserts`);
    assert.equal(rows, blocks * 3);
    // One block may have been stored without its acknowledgement having been heard, in every round.
    assert.ok(
      blocks >= acknowledged && blocks <= acknowledged + 3,
      `${blocks} blocks, ${acknowledged} acknowledged`,
    );
    rmSync(data, { recursive: true, force: true });
  });
});
