import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Session } from 'chdb';
import { readMigrations } from '../src/connections/migration-files.js';
import { splitStatements } from '../src/sql/sql-text.js';
import { Transcoder } from '../src/transcode/transcoder.js';
import { PACKAGE_ROOT } from '../src/version.js';
import { makeLogsBody, makeMetricsBody, makeTracesBody } from '../test/support/otlp-bodies.js';

/* What the engine alone does with the same rows from Native files: the limit of any pipeline in front of it. */
const MAKE = { traces: makeTracesBody, logs: makeLogsBody, metrics: makeMetricsBody };
const BATCHES = 6;
const BODIES_PER_BATCH = 100;
const dir = mkdtempSync(join(tmpdir(), 'telemetryflow-engine-'));
const session = new Session(join(dir, 'clickhouse'));
for (const { sql } of await readMigrations(join(PACKAGE_ROOT, 'migrations', 'clickhouse')))
  for (const statement of splitStatements(sql)) await session.queryAsync(statement);

const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};
console.log('\n## Engine alone, the same rows from Native files\n\n| signal | rows per CPU-s |\n|---|---|');
for (const signal of ['traces', 'logs', 'metrics'] as const) {
  const transcoder = new Transcoder(signal);
  let used = 0;
  let rows = 0;
  await session.queryAsync(`SYSTEM STOP MERGES telemetry_${signal}`);
  for (let batch = 0; batch < BATCHES; batch++) {
    const nowMs = Date.now();
    for (let i = 0; i < BODIES_PER_BATCH; i++) {
      const body = MAKE[signal]({ items: 1000, seed: batch * 1000 + i, nowMs });
      transcoder.add(body, { receivedAtMs: nowMs, retentionDays: 30 });
    }
    const block = transcoder.finish();
    const path = join(dir, `${batch}.native`);
    writeFileSync(path, Buffer.concat(block.chunks));
    const columns = block.columns.map((name) => `\`${name}\``).join(', ');
    const before = cpu();
    await session.queryAsync(
      `INSERT INTO telemetry_${signal} (organization_id, workspace_id, tenant_id, ${columns})
       SELECT 'o', 'w', 't', ${columns} FROM file('${path}', Native, '${block.structure.replaceAll("'", "\\'")}')
       SETTINGS max_threads = 1, max_insert_threads = 1, materialize_skip_indexes_on_insert = 0, min_insert_block_size_rows = 10000000, min_insert_block_size_bytes = 0`,
    );
    used += cpu() - before;
    rows += block.rows;
    rmSync(path);
  }
  console.log(`| ${signal} | ${(rows / used / 1000).toFixed(0)} k |`);
}
rmSync(dir, { recursive: true, force: true });
process.exit(0);
