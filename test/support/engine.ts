import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { SIGNALS, type Signal } from '../../src/signal.js';

const PROCESS = fileURLToPath(new URL('./engine-process.js', import.meta.url));

/** The three tables and what identifies an item in tests. */
export const TABLES: Readonly<Record<Signal, string>> = {
  traces: 'telemetry_traces',
  logs: 'telemetry_logs',
  metrics: 'telemetry_metrics',
};

/**
 * Runs SQL in the embedded store of a stopped server, in a process of its own, since only one may have it open. The statements run in
 * order; the rows of each come back. Ask for all that is wanted at once: starting the engine costs more than most questions.
 */
export async function queryStoreEach(
  dataDir: string,
  statements: readonly string[],
): Promise<Record<string, unknown>[][]> {
  const child = spawn(process.execPath, [PROCESS, join(dataDir, 'clickhouse'), 'telemetryflow'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.end(JSON.stringify(statements));
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const [answers, code] = await Promise.all([text(child.stdout), exited]);
  if (code !== 0) throw new Error(`The store in ${dataDir} could not be asked: ${statements.join('; ')}`);
  const rowsOf = (lines: string) => lines.split('\n').filter((line) => line !== '');
  return (JSON.parse(answers) as string[]).map((lines) => rowsOf(lines).map((line) => JSON.parse(line)));
}

/** `queryStoreEach` where only the rows of the last statement are wanted. */
export async function queryStore<Row>(dataDir: string, ...statements: string[]): Promise<Row[]> {
  return (await queryStoreEach(dataDir, statements)).at(-1) as Row[];
}

/** `queryStoreEach` with one statement for each of the signals, in their order. */
export async function queryEachSignal<Row>(
  dataDir: string,
  statement: (signal: Signal) => string,
): Promise<[Signal, Row[]][]> {
  const answers = await queryStoreEach(dataDir, SIGNALS.map(statement));
  return SIGNALS.map((signal, nth) => [signal, answers[nth] as Row[]]);
}

/** Rows of a stopped server's tables: of each one for which a condition is given, and under that condition. */
export async function countRowsEach(
  dataDir: string,
  wanted: readonly (readonly [signal: Signal, where: string])[],
): Promise<number[]> {
  const statements = wanted.map(
    ([signal, where]) => `SELECT count() AS rows FROM ${TABLES[signal]} WHERE ${where}`,
  );
  return (await queryStoreEach(dataDir, statements)).map(([{ rows }]) => rows as number);
}

/** Rows of a stopped server's table. */
export async function countRows(dataDir: string, signal: Signal, where = '1'): Promise<number> {
  return (await countRowsEach(dataDir, [[signal, where]]))[0];
}
