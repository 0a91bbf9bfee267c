import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { StartupError } from '../errors.js';
import { openPostgres } from './postgres.js';
import { postgresContract } from './postgres.suite.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-pglite-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const openEmbedded = (name: string) =>
  openPostgres({ DATA_DIR: join(folder, name), DATABASE_URL: undefined });

postgresContract('embedded', () => openEmbedded('contract'));

describe('the embedded PostgreSQL', () => {
  it('makes its directory anew after a start that was killed, without initdb’s memory in this process', async () => {
    const data = join(folder, 'fresh');
    mkdirSync(join(data, 'postgres.new'), { recursive: true });
    writeFileSync(join(data, 'postgres.new', 'PG_VERSION'), '18');
    const before = process.memoryUsage.rss();
    const postgres = await openEmbedded('fresh');
    const grownMb = (process.memoryUsage.rss() - before) / 1e6;
    assert.deepEqual(await postgres.health(), { status: 'up' });
    await postgres.close();
    assert.ok(grownMb < 150, `grew by ${grownMb} MB`);
    assert.ok(!existsSync(join(data, 'postgres.new')));
  });

  it('opens again what it had stored', async () => {
    for (const round of [1, 2]) {
      const postgres = await openEmbedded('contract');
      await postgres.query('CREATE TABLE IF NOT EXISTS rounds (n integer)');
      await postgres.query('INSERT INTO rounds VALUES ($1)', [round]);
      const rows = await postgres.query('SELECT n FROM rounds ORDER BY n');
      assert.equal(rows.length, round);
      await postgres.close();
      await postgres.close();
    }
  });

  it('opens a directory whose lock file was made and not yet written when its process was killed', async () => {
    writeFileSync(join(folder, 'contract', 'postgres', 'postmaster.pid'), '');
    const postgres = await openEmbedded('contract');
    assert.deepEqual(await postgres.health(), { status: 'up' });
    await postgres.close();
  });

  it('has every acknowledged commit after kill -9, three times over', async () => {
    const data = join(folder, 'fresh');
    const script = fileURLToPath(new URL('../../test/support/postgres-writer.js', import.meta.url));
    let acknowledged = 0;
    for (let round = 0; round < 3; round++) {
      const child = spawn(process.execPath, [script, data], { stdio: ['ignore', 'pipe', 'inherit'] });
      const exited = new Promise((resolve) => child.once('exit', resolve));
      let lines = 0;
      for await (const chunk of child.stdout) {
        lines += (chunk as Buffer).toString().split('\n').length - 1;
        if (lines >= 200) child.kill('SIGKILL');
      }
      await exited;
      acknowledged += lines;
    }
    const postgres = await openEmbedded('fresh');
    const [{ n }] = await postgres.query<{ n: number }>('SELECT count(*)::integer AS n FROM commits');
    await postgres.close();
    // A commit may have been stored without its acknowledgement having been heard, in every round.
    assert.ok(n >= acknowledged && n <= acknowledged + 3, `${n} rows, ${acknowledged} acknowledged`);
  });

  it('is made from the archive of what initdb makes as initdb makes it', async () => {
    const script = fileURLToPath(new URL('./pglite-init.js', import.meta.url));
    const initialise = (...args: string[]) => promisify(execFile)(process.execPath, [script, ...args]);
    const archive = join(folder, 'archive.gz');
    await initialise('--archive', archive);
    const directory = join(folder, 'unpacked', 'postgres');
    mkdirSync(directory, { recursive: true });
    await initialise(directory, archive);
    assert.equal(statSync(join(directory, 'global', 'pg_control')).mode & 0o777, 0o600);
    const postgres = await openEmbedded('unpacked');
    await postgres.query('CREATE TABLE numbers AS SELECT generate_series(1, 3) AS n');
    assert.deepEqual(await postgres.query('SELECT sum(n)::integer AS n FROM numbers'), [{ n: 6 }]);
    assert.deepEqual(await postgres.query('SHOW wal_segment_size'), [{ wal_segment_size: '1MB' }]);
    await postgres.close();
  });

  it('says which directory it cannot open', async () => {
    const data = join(folder, 'broken');
    mkdirSync(join(data, 'postgres'), { recursive: true });
    writeFileSync(join(data, 'postgres', 'PG_VERSION'), 'nonsense');
    await assert.rejects(openEmbedded('broken'), (error: Error) => {
      assert.ok(error instanceof StartupError);
      assert.match(error.message, /cannot open .*broken/);
      return true;
    });
  });
});
