import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { queryStore } from '../../test/support/engine.js';
import { forgetMissingParts } from './engine-config.js';

const INSERT = `INSERT INTO t SELECT toDate('2026-01-01') + number % 3 AS day, number AS id FROM numbers(9)
  SETTINGS insert_deduplication_token = 'batch-1', max_threads = 1`;
const COUNT = 'SELECT count() AS rows FROM t';
const CREATE = `CREATE TABLE t (day Date, id UInt64) ENGINE = MergeTree PARTITION BY day ORDER BY id
  SETTINGS non_replicated_deduplication_window = 100`;

describe('A block whose part is missing after a kill', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'telemetryflow-engine-'));
  const directory = join(dataDir, 'clickhouse');
  after(() => rmSync(dataDir, { recursive: true, force: true }));

  /** The table's directory: the one that has a deduplication log. */
  function tableDirectory(): string {
    const path = readdirSync(directory, { recursive: true, encoding: 'utf8' }).find((name) =>
      name.endsWith('deduplication_logs'),
    );
    return join(directory, path!, '..');
  }
  const logOf = (table: string) => join(table, 'deduplication_logs', 'deduplication_log_1.txt');

  it('is inserted when the insert is repeated, and only that one', async () => {
    await queryStore(dataDir, CREATE, INSERT);
    const table = tableDirectory();
    const [, part] = readFileSync(logOf(table), 'utf8').split('\n')[1].split('\t');
    rmSync(join(table, part), { recursive: true });
    assert.deepEqual(await queryStore(dataDir, INSERT, COUNT), [{ rows: 6 }], 'what the engine makes of it');
    assert.deepEqual(forgetMissingParts(directory), [part]);
    assert.deepEqual(await queryStore(dataDir, INSERT, COUNT), [{ rows: 9 }]);
  });

  it('is nothing to a table where every part is there, merged ones too', async () => {
    assert.deepEqual(forgetMissingParts(directory), []);
    const more = INSERT.replace('batch-1', 'batch-2');
    await queryStore(dataDir, more, 'OPTIMIZE TABLE t FINAL');
    assert.deepEqual(forgetMissingParts(directory), []);
    assert.deepEqual(await queryStore(dataDir, more, INSERT, COUNT), [{ rows: 18 }]);
  });

  it('leaves a log that the engine reads on, though its end was torn', async () => {
    const log = logOf(tableDirectory());
    const before = readFileSync(log, 'utf8');
    appendFileSync(log, '1\t2026');
    assert.deepEqual(forgetMissingParts(directory), []);
    assert.equal(readFileSync(log, 'utf8'), before);
    assert.deepEqual(await queryStore(dataDir, INSERT, COUNT), [{ rows: 18 }]);
  });

  it('is nothing to a folder without tables', () => {
    assert.deepEqual(forgetMissingParts(join(dataDir, 'nowhere')), []);
  });
});
