import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ClickHouse } from '../../src/connections/clickhouse.js';
import { SHARDING_KEYS } from '../../src/sql/cluster-statements.js';

/*
 * As much of a cluster as one engine is. It has Distributed tables, whose shards are this engine itself; it has no Keeper, so tables
 * are not replicated and nothing is run ON CLUSTER; and what is sent over the network on a cluster stays in the process.
 */

export const CLUSTER = 'main';
/** Two shards, both this engine. */
const SPREAD = 'main_spread';

/** Arguments that give a session's engine the clusters. */
export function clusterArguments(directory: string): string[] {
  mkdirSync(directory, { recursive: true });
  const shard = (host: string) =>
    `<shard><internal_replication>true</internal_replication><replica><host>${host}</host><port>9000</port></replica></shard>`;
  const clusters = `<${CLUSTER}>${shard('127.0.0.1')}</${CLUSTER}><${SPREAD}>${shard('127.0.0.1')}${shard('localhost')}</${SPREAD}>`;
  const file = join(directory, 'cluster.xml');
  // The port that makes the engine know itself; it does not listen there.
  writeFileSync(
    file,
    `<clickhouse><tcp_port>9000</tcp_port><remote_servers>${clusters}</remote_servers></clickhouse>`,
  );
  return [`--config-file=${file}`];
}

/** The statement without what needs other servers: replication, and being run on all of them. */
export function onOneServer(sql: string): string {
  if (/^SYSTEM SYNC REPLICA /.test(sql)) return 'SELECT 1';
  return sql
    .replace(` ON CLUSTER '${CLUSTER}'`, '')
    .replace(/Replicated(\w*MergeTree)\('[^']*', '[^']*'(?:, )?/, '$1(')
    .replace(/\breplicated_deduplication_window_seconds = \d+(, )?/, '')
    .replace(/\breplicated_deduplication_window\b/, 'non_replicated_deduplication_window');
}

/** Those that questions read without FINAL, and that are written by the program through their views or by `spreadInto`. */
const SPREAD_TABLES = [
  'telemetry_traces',
  'telemetry_logs',
  'telemetry_metrics',
  'trace_steps',
  'mv_service_list',
  'mv_metric_list',
];

/**
 * Spreads what is in the tables over two shards for reading: each sees the rows that its share of the sharding key gives it. The tables
 * can be written no more by their names, only by `x_local`.
 */
export async function spreadOverShards(clickhouse: ClickHouse): Promise<void> {
  for (const table of SPREAD_TABLES) {
    const { rows } = await clickhouse.read<{ name: string }>(
      `SELECT name FROM system.columns WHERE database = currentDatabase() AND table = '${table}_local' AND default_kind = 'MATERIALIZED'`,
    );
    const columns = ['*', ...rows.map(({ name }) => name)].join(', ');
    const key = SHARDING_KEYS[table];
    await clickhouse.command(
      `CREATE VIEW ${table}_shard AS SELECT ${columns} FROM ${table}_local WHERE ${key} % 2 = shardNum() - 1`,
    );
    await clickhouse.command(`DROP TABLE ${table} SYNC`);
    await clickhouse.command(
      `CREATE TABLE ${table} AS ${table}_local ENGINE = Distributed('${SPREAD}', currentDatabase(), '${table}_shard', ${key})`,
    );
  }
}
