import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LoadOrder, LoadReport } from './load-client.js';

const FREE_PORTS = { PORT: '0', OTLP_HTTP_PORT: '0', OTLP_GRPC_PORT: '0' };

const here = (file: string) => fileURLToPath(new URL(file, import.meta.url));

export interface ServerUnderTest {
  pid: number;
  otlp: string;
  /** Host and port. */
  otlpGrpc: string;
  api: string;
  dataDir: string;
  /** May send and ask. */
  key: string;
  /** SIGTERM, then the exit code. */
  stop(): Promise<number>;
}

/** However the benchmark ends, nothing of it stays behind. */
const children: ChildProcess[] = [];
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

function exitOf(child: ChildProcess): Promise<number> {
  children.push(child);
  return new Promise((resolve) => child.once('exit', (code) => resolve(code ?? -1)));
}

/**
 * The real program, as `npm start` runs it, on free ports with an empty data folder and without rate limits.
 *
 * @param isIdle nothing is taken out of its queue
 */
export async function startServer(
  env: Record<string, string> = {},
  isIdle = false,
): Promise<ServerUnderTest> {
  const dataDir = mkdtempSync(join(tmpdir(), 'telemetryflow-bench-'));
  if (isIdle) {
    mkdirSync(join(dataDir, 'queue'));
    writeFileSync(join(dataDir, 'queue', 'paused'), '');
  }
  const unlimited = { THROTTLE_LIMIT: '0', THROTTLE_INGESTION_LIMIT: '0' };
  const settings = {
    DATA_DIR: dataDir,
    ...FREE_PORTS,
    LOG_LEVEL: 'warn',
    ...unlimited,
    CANARY_INTERVAL_MS: '0',
    ...env,
  };
  const options = { env: { ...process.env, ...settings }, encoding: 'utf8' } as const;
  const bin = here('../src/bin.cjs');
  const child = spawn(process.execPath, [bin, 'start'], { ...options, stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = exitOf(child);
  let text = '';
  const addresses = await new Promise<{ api: string; otlp: string; otlpGrpc: string }>((resolve, reject) => {
    child.stdout.on('data', (chunk) => {
      text += chunk;
      const api = /API\s+(http:\S+?)\/api\/v1/.exec(text)?.[1];
      const otlp = /OTLP\/HTTP\s+(http:\S+)/.exec(text)?.[1];
      const otlpGrpc = /OTLP\/gRPC\s+(\S+)/.exec(text)?.[1];
      if (api && otlp && otlpGrpc) resolve({ api, otlp, otlpGrpc });
    });
    exited.then((code) => reject(new Error(`The server ended with ${code} before it was ready`)));
  });
  const stop = () => {
    child.kill('SIGTERM');
    return exited;
  };
  const key = execFileSync(
    process.execPath,
    [bin, 'keys', 'create', '--permissions', 'ingest,read'],
    options,
  );
  return { pid: child.pid!, dataDir, stop, key: key.trim(), ...addresses };
}

/** The naive reference pipeline in its own process. */
export function startNaive(): Promise<ServerUnderTest> {
  return startSmall('./naive-server.js');
}

/** A server that takes bodies and keeps nothing. */
export function startBare(): Promise<ServerUnderTest> {
  return startSmall('./bare-server.js');
}

async function startSmall(file: string): Promise<ServerUnderTest> {
  const dataDir = mkdtempSync(join(tmpdir(), 'telemetryflow-naive-'));
  const child = fork(here(file), [dataDir]);
  const exited = exitOf(child);
  const { port } = await new Promise<{ port: number }>((resolve, reject) => {
    child.once('message', (message) => resolve(message as { port: number }));
    exited.then((code) => reject(new Error(`${file} ended with ${code}`)));
  });
  const url = `http://127.0.0.1:${port}`;
  const stop = () => {
    child.kill('SIGKILL');
    return exited;
  };
  return { pid: child.pid!, dataDir, api: url, otlp: url, otlpGrpc: '', key: '', stop };
}

/** A client process that has its bodies ready; `go` sends them. */
export async function prepareLoad(order: LoadOrder): Promise<{ go(): Promise<LoadReport> }> {
  const child = fork(here('./load-client.js'), { execArgv: ['--max-old-space-size=8192'] });
  children.push(child);
  const next = <T>() =>
    new Promise<T>((resolve) => child.once('message', (message) => resolve(message as T)));
  const ready = next<{ ready: true }>();
  child.send({ prepare: order });
  await ready;
  return {
    go: async () => {
      const report = next<{ report: LoadReport }>();
      child.send('go');
      return (await report).report;
    },
  };
}
