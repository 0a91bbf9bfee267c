import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { Signal } from '../../src/signal.js';

const PROCESS = fileURLToPath(new URL('./engine-process.js', import.meta.url));

/** The three tables and what identifies an item in tests. */
export const TABLES: Readonly<Record<Signal, string>> = {
  traces: 'telemetry_traces',
  logs: 'telemetry_logs',
  metrics: 'telemetry_metrics',
};

/**
 * Runs SQL in the embedded store of a stopped server, in a process of its own, since only one may have it open.
 * Several statements run in order; the rows of the last one come back.
 */
export async function queryStore<Row>(dataDir: string, ...statements: string[]): Promise<Row[]> {
  const child = spawn(process.execPath, [PROCESS, join(dataDir, 'clickhouse'), 'telemetryflow'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.end(JSON.stringify(statements));
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const [lines, code] = await Promise.all([text(child.stdout), exited]);
  if (code !== 0) throw new Error(`The store in ${dataDir} could not be asked: ${statements.join('; ')}`);
  return lines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Row);
}

/** Rows of a stopped server's table. */
export async function countRows(dataDir: string, signal: Signal, where = '1'): Promise<number> {
  const [{ rows }] = await queryStore<{ rows: number }>(
    dataDir,
    `SELECT count() AS rows FROM ${TABLES[signal]} WHERE ${where}`,
  );
  return rows;
}
