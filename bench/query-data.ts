import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Session } from 'chdb';
import pino from 'pino';
import { loadConfig } from '../src/config.js';
import { type ClickHouse, openClickHouse } from '../src/connections/clickhouse.js';
import { migrate } from '../src/connections/migrations.js';
import { openPostgres } from '../src/connections/postgres.js';
import type { Scope } from '../src/edge/scope.js';
import { aggregate } from '../src/rollups/aggregation.worker.js';
import { ensureDefaultTenant } from '../src/tenants/default-tenant.js';
import { type Made, telemetryRows } from './telemetry-rows.js';

export const DAYS = 30;
const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
/** At scale 1. Of the metric points one in 25 is a histogram. */
const ROWS: Record<Made, number> = {
  metrics: 96_000_000,
  histograms: 4_000_000,
  logs: 50_000_000,
  traces: 20_000_000,
};
/** So many at once become one part, as a merge of ten inserts' parts would be. */
const ROWS_PER_PART = 1_700_000;
/** Parts of a day that is not over. */
const PARTS_OF_LAST_DAY = 4;
const LANES = 2;
/** The data are kept for longer than they would be by themselves, so that a folder can be used again. */
export const RETENTION_DAYS = '3650';

/** A data folder of the program, filled. */
export interface QueryData {
  /** The default tenant, whose half of the rows is. */
  scope: Scope;
  startMs: number;
  /** A full hour. */
  endMs: number;
  rows: Record<Made, number>;
  madeInSeconds: number;
}

interface Insert {
  kind: Made;
  from: number;
  count: number;
}

/** What was made in this folder before, or makes it: some minutes at scale 1, said on `progress`. */
export async function queryData(
  dataDir: string,
  scale: number,
  progress: (text: string) => void,
): Promise<QueryData> {
  const note = join(dataDir, 'bench-query.json');
  if (existsSync(note)) return JSON.parse(readFileSync(note, 'utf8')) as QueryData;
  mkdirSync(dataDir, { recursive: true });
  const startedAt = performance.now();
  const config = loadConfig({ ...process.env, DATA_DIR: dataDir, RETENTION_DAYS });
  const [postgres, clickhouse] = await Promise.all([openPostgres(config), openClickHouse(config)]);
  await migrate(postgres, clickhouse);
  const scope = await ensureDefaultTenant(postgres.dataSource);
  await postgres.close();
  const endMs = Math.floor(Date.now() / HOUR_MS) * HOUR_MS;
  const rows = { ...ROWS };
  for (const kind of Object.keys(rows) as Made[]) rows[kind] = Math.round(rows[kind] * scale);
  const made = { scope, startMs: endMs - DAYS * DAY_MS, endMs, rows };
  const open = () => new Session(join(dataDir, 'clickhouse'));
  const fillWith = (kinds: Made[]) => fill(open, config.CLICKHOUSE_DATABASE, made, kinds, progress);
  await fillWith(['histograms', 'metrics']);
  await noteHours(clickhouse);
  // Rolling up takes one thread: in the meantime all else is made.
  await Promise.all([fillWith(['logs', 'traces']), rollUp(clickhouse, progress)]);
  await mergeSmall(clickhouse, progress);
  await clickhouse.close();
  const data = { ...made, madeInSeconds: Math.round((performance.now() - startedAt) / 1000) };
  writeFileSync(note, `${JSON.stringify(data, null, 2)}\n`);
  return data;
}

/** The inserts of one kind: a day is one part or a few, as rows of one day lie in one partition. */
function insertsOf(kind: Made, { startMs, endMs, rows }: Omit<QueryData, 'madeInSeconds'>): Insert[] {
  const total = rows[kind];
  const rowAt = (ms: number) =>
    Math.round((total * (Math.min(Math.max(ms, startMs), endMs) - startMs)) / (endMs - startMs));
  const inserts: Insert[] = [];
  for (let day = Math.floor(startMs / DAY_MS) * DAY_MS; day < endMs; day += DAY_MS) {
    const [from, to] = [rowAt(day), rowAt(day + DAY_MS)];
    const parts =
      day + DAY_MS >= endMs ? PARTS_OF_LAST_DAY : Math.max(1, Math.ceil((to - from) / ROWS_PER_PART));
    const size = Math.ceil((to - from) / parts);
    for (let at = from; at < to; at += size) inserts.push({ kind, from: at, count: Math.min(size, to - at) });
  }
  return inserts;
}

async function fill(
  open: () => Session,
  database: string,
  made: Omit<QueryData, 'madeInSeconds'>,
  kinds: Made[],
  progress: (text: string) => void,
): Promise<void> {
  const waiting = kinds.flatMap((kind) => insertsOf(kind, made));
  const all = waiting.reduce((sum, { count }) => sum + count, 0);
  const startedAt = performance.now();
  let done = 0;
  let toldAt = 0;
  const lane = async () => {
    const session = open();
    session.query(`USE ${database}`);
    for (let insert = waiting.shift(); insert; insert = waiting.shift()) {
      await session.queryAsync(insertSql(insert, made));
      done += insert.count;
      const now = performance.now();
      if (now - toldAt < 10_000) continue;
      toldAt = now;
      const left = Math.round(((now - startedAt) / 1000) * (all / done - 1));
      progress(`rows: ${Math.round((100 * done) / all)} % (${insert.kind}), about ${left} s left`);
    }
    session.close();
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  progress(
    `rows of ${kinds.join(' and ')}: ${done} in ${Math.round((performance.now() - startedAt) / 1000)} s`,
  );
}

function insertSql(
  { kind, from, count }: Insert,
  { rows, startMs, scope }: Omit<QueryData, 'madeInSeconds'>,
) {
  const order = { from, count, total: rows[kind], days: DAYS, startMs, first: scope };
  const { columns, select } = telemetryRows(kind, order);
  return `INSERT INTO telemetry_${kind === 'histograms' ? 'metrics' : kind} (${columns}) ${select}
SETTINGS max_threads = 1, max_insert_threads = 1, max_block_size = 65536, min_insert_block_size_rows = 16777216, min_insert_block_size_bytes = 0,
  insert_deduplicate = 0, max_partitions_per_insert_block = 0`;
}

const SMALL_TABLES = [
  'trace_steps',
  'mv_service_list',
  'mv_metric_list',
  'rollup_hours',
  'metrics_hourly',
  'metrics_daily',
];

/** What the engine would have merged in the course of a month. */
async function mergeSmall(clickhouse: ClickHouse, progress: (text: string) => void): Promise<void> {
  for (const table of SMALL_TABLES) {
    progress(`merging ${table}`);
    await clickhouse.command(`OPTIMIZE TABLE ${table} FINAL`);
  }
}

/**
 * As the ingestion worker would have, had the points come in when they were measured: long enough ago to be rolled up at once
 * (docs/decisions/rollups.md).
 */
async function noteHours(clickhouse: ClickHouse): Promise<void> {
  await clickhouse.command(
    `INSERT INTO rollup_hours (organization_id, workspace_id, tenant_id, hour, touched_at)
SELECT organization_id, workspace_id, tenant_id, arrayJoin([of, of + 3600]), of + 3600
FROM (SELECT DISTINCT organization_id, workspace_id, tenant_id, hour AS of FROM telemetry_metrics)`,
  );
}

async function rollUp(clickhouse: ClickHouse, progress: (text: string) => void): Promise<void> {
  const settings = { RETENTION_METRICS_DAYS: Number(RETENTION_DAYS), ROLLUP_LATE_HOURS: 24 };
  const { rows, hours, days } = await aggregate('daily', clickhouse, settings, pino({ level: 'silent' }), {
    nowMs: Date.now(),
    progress: async (share) => progress(`rolling up: ${Math.round(share * 100)} %`),
  });
  progress(`rolled up ${hours} hours and ${days} days into ${rows} rows`);
}
