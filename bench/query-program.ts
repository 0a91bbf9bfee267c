import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { RETENTION_DAYS } from './query-data.js';

const here = (file: string) => fileURLToPath(new URL(file, import.meta.url));

/** Of the engine's: what a statement finds in memory without asking the files. The operating system's page cache stays. */
const CACHES = [
  'MARK CACHE',
  'INDEX MARK CACHE',
  'PRIMARY INDEX CACHE',
  'UNCOMPRESSED CACHE',
  'INDEX UNCOMPRESSED CACHE',
  'QUERY CONDITION CACHE',
  'TEXT INDEX CACHES',
  'MMAP CACHE',
];

export interface Answer {
  ms: number;
  rowsRead: number;
  bytesRead: number;
  body: Record<string, unknown>;
}

/** The running program, on a data folder that was filled. */
export interface QueryProgram {
  pid: number;
  otlp: string;
  key: string;
  /** Caches that this engine lets go of. */
  caches: string[];
  /** @throws Error with the program's answer, when it is not 2xx */
  ask(path: string): Promise<Answer>;
  sql<Row>(statement: string): Promise<Row[]>;
  dropCaches(): Promise<void>;
  stop(): Promise<void>;
}

/** Nothing limits, nothing is kept: every question goes to the store. */
const SETTINGS = {
  PORT: '0',
  OTLP_HTTP_PORT: '0',
  OTLP_GRPC_PORT: '0',
  LOG_LEVEL: 'warn',
  THROTTLE_LIMIT: '0',
  THROTTLE_INGESTION_LIMIT: '0',
  CANARY_INTERVAL_MS: '0',
  CACHE_L1_ENTRIES: '0',
  RETENTION_DAYS,
  // As bin.cts does before anything runs.
  UV_THREADPOOL_SIZE: '16',
};

export async function startQueryProgram(dataDir: string): Promise<QueryProgram> {
  const env = { ...process.env, ...SETTINGS, DATA_DIR: dataDir };
  const child = fork(here('./query-server.js'), { env, execArgv: ['--heap-growing-percent=150'] });
  process.on('exit', () => child.kill('SIGKILL'));
  const exited = once(child, 'exit');
  const { api, otlp } = await new Promise<{ api: string; otlp: string }>((resolve, reject) => {
    child.once('message', (message) => resolve(message as { api: string; otlp: string }));
    child.once('exit', (code) => reject(new Error(`The program ended with ${code} before it was ready`)));
  });
  const key = execFileSync(
    process.execPath,
    [here('../src/bin.cjs'), 'keys', 'create', '--permissions', 'ingest,read,admin'],
    { env, encoding: 'utf8' },
  ).trim();
  const sql = statementsOf(child);
  const drop = (cache: string) => sql(`SYSTEM DROP ${cache}`);
  const caches: string[] = [];
  for (const cache of CACHES) {
    // Which there are depends on the engine.
    const dropped = await drop(cache).catch(() => undefined);
    if (dropped) caches.push(cache);
  }
  return {
    pid: child.pid!,
    otlp,
    key,
    caches,
    sql,
    ask: (path) => ask(`${api}/api/v1/${path}`, key),
    async dropCaches() {
      for (const cache of caches) await drop(cache);
    },
    async stop() {
      child.send('stop');
      await exited;
    },
  };
}

/** Statements for the session that the child keeps for them. */
function statementsOf(child: ChildProcess): QueryProgram['sql'] {
  const waiting = new Map<number, { resolve: (rows: unknown[]) => void; reject: (error: Error) => void }>();
  let asked = 0;
  child.on('message', ({ id, rows, error }: { id: number; rows: unknown[]; error?: string }) => {
    const { resolve, reject } = waiting.get(id)!;
    waiting.delete(id);
    if (error === undefined) resolve(rows);
    else reject(new Error(error));
  });
  return <Row>(statement: string) =>
    new Promise<Row[]>((resolve, reject) => {
      const id = asked++;
      waiting.set(id, { resolve: resolve as (rows: unknown[]) => void, reject });
      child.send({ id, sql: statement });
    });
}

async function ask(url: string, key: string): Promise<Answer> {
  const startedAt = performance.now();
  const answer = await fetch(url, { headers: { authorization: `Bearer ${key}` } });
  const text = await answer.text();
  const ms = performance.now() - startedAt;
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${text.slice(0, 500)}`);
  const body = JSON.parse(text) as {
    meta: { rows_read: number; bytes_read: number; partial_reason?: string };
  };
  const { rows_read, bytes_read, partial_reason } = body.meta;
  if (partial_reason !== undefined) process.stderr.write(`... partial: ${url}: ${partial_reason}\n`);
  return { ms, rowsRead: rows_read, bytesRead: bytes_read, body };
}
