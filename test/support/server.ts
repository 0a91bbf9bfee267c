import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { call, getJson } from './http.js';

const CLI = fileURLToPath(new URL('../../src/bin.cjs', import.meta.url));
const MAX_START_MS = 60_000;
const MAX_STOP_MS = 30_000;
const POLL_MS = 10;
const MAX_SHOWN_CHARACTERS = 4000;

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** What the queue says of itself at /health/ready. */
export interface QueueHealth {
  waitingEntries: number;
  waitingBatches: number;
  failedEntries: number;
  corruptRecords: number;
  duplicates: number;
  diskFull: boolean;
}

const children = new Set<ChildProcess>();
const directories = new Set<string>();
// Ctrl-C and the runner's time limit end a process without its exit event, and would leave servers behind.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  for (const directory of directories) rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  console.log(`# ${basename(process.argv[1] ?? '')} took ${(performance.now() / 1000).toFixed(1)} s`);
});

/** An empty data folder, deleted when the test file ends. */
export function makeDataDir(): string {
  const directory = mkdtempSync(join(tmpdir(), 'telemetryflow-test-'));
  directories.add(directory);
  return directory;
}

/** The real program as a child process: everything it printed, and how it ended. */
export class Program {
  readonly exited: Promise<Exit>;
  stdout = '';
  /** The structured log and what is printed when the start fails. */
  stderr = '';
  readonly child: ChildProcess;
  private hasExited = false;

  /** @param env settings; nothing of the caller's environment but PATH and HOME reaches the program */
  constructor(args: readonly string[], env: Record<string, string>) {
    const { PATH = '', HOME = '', NODE_V8_COVERAGE } = process.env;
    const inherited = { PATH, HOME, ...(NODE_V8_COVERAGE ? { NODE_V8_COVERAGE } : {}) };
    this.child = spawn(process.execPath, ['--enable-source-maps', CLI, ...args], {
      env: { ...inherited, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    children.add(this.child);
    this.child.stdout!.on('data', (chunk) => (this.stdout += chunk));
    this.child.stderr!.on('data', (chunk) => (this.stderr += chunk));
    this.exited = new Promise((resolve) => {
      this.child.once('close', (code, signal) => {
        this.hasExited = true;
        children.delete(this.child);
        resolve({ code, signal });
      });
    });
  }

  get isRunning(): boolean {
    return !this.hasExited;
  }

  /** What it printed last, for the message of a failed assertion. */
  get output(): string {
    return `${this.stdout}\n${this.stderr.slice(-MAX_SHOWN_CHARACTERS)}`;
  }
}

/** Opens the link that was printed, as a browser does; the access token that it gives. */
async function signIn(printed: string): Promise<string> {
  const link = /Sign in\s+(http:\S+)/.exec(printed)?.[1];
  if (!link) return '';
  const { status, headers } = await call(link, { method: 'GET' });
  assert.equal(status, 303, `${link} answers ${status}`);
  return /^tf_session=([^;]+)/.exec(String(headers['set-cookie']))![1];
}

/** It ended before it listened. */
export class StartFailed extends Error {
  constructor(
    readonly exit: Exit,
    readonly output: string,
  ) {
    super(`The server did not start (code ${exit.code}, signal ${exit.signal}):\n${output}`);
  }
}

/** The program, started and listening. */
export class Server {
  private constructor(
    readonly program: Program,
    readonly dataDir: string,
    /** Base URLs, without a slash at the end. */
    readonly api: string,
    readonly otlp: string,
    /** Host and port. */
    readonly otlpGrpc: string,
    readonly startedInMs: number,
    /** A login of the admin, good for 15 minutes: what a question to the API needs. Empty when none was offered. */
    readonly key: string,
  ) {}

  /**
   * Starts on free ports, without rate limits unless `env` sets them, and resolves when it listens.
   *
   * @throws StartFailed when it ends before
   */
  static async start(dataDir: string, env: Record<string, string> = {}): Promise<Server> {
    const startedAt = performance.now();
    const unlimited = { THROTTLE_LIMIT: '0', THROTTLE_INGESTION_LIMIT: '0' };
    const ports = { PORT: '0', OTLP_HTTP_PORT: '0', OTLP_GRPC_PORT: '0' };
    // Its items would be among those that tests count in the store.
    const quiet = { CANARY_INTERVAL_MS: '0' };
    const settings = { DATA_DIR: dataDir, ...ports, LOG_LEVEL: 'info', ...unlimited, ...quiet, ...env };
    const program = new Program(['start'], settings);
    while (program.isRunning && performance.now() - startedAt < MAX_START_MS) {
      const api = /API\s+(http:\S+?)\/api\/v1/.exec(program.stdout)?.[1];
      const otlp = /OTLP\/HTTP\s+(http:\S+)/.exec(program.stdout)?.[1];
      const otlpGrpc = /OTLP\/gRPC\s+(\S+)/.exec(program.stdout)?.[1];
      if (api && otlp && otlpGrpc && program.stdout.includes('/health/ready')) {
        const startedInMs = performance.now() - startedAt;
        const key = await signIn(program.stdout).catch(async (error) => {
          // A failpoint may end it between saying that it listens and being asked.
          const exit = await Promise.race([program.exited, sleep(1000)]);
          throw exit ? new StartFailed(exit, program.output) : error;
        });
        return new Server(program, dataDir, api, otlp, otlpGrpc, startedInMs, key);
      }
      await Promise.race([sleep(POLL_MS), program.exited]);
    }
    program.child.kill('SIGKILL');
    throw new StartFailed(await program.exited, program.output);
  }

  get pid(): number {
    return this.program.child.pid!;
  }

  /** Resident memory, bytes. */
  get residentBytes(): number {
    return Number(execFileSync('ps', ['-o', 'rss=', '-p', String(this.pid)], { encoding: 'utf8' })) * 1024;
  }

  async queue(): Promise<QueueHealth> {
    const { body } = await getJson(`${this.api}/health/ready`);
    return (body as { dependencies: { queue: QueueHealth } }).dependencies.queue;
  }

  /** Resolves when everything acknowledged is in the store; fails when something was given up or it takes too long. */
  async drained(maxMs = 60_000): Promise<void> {
    const startedAt = performance.now();
    for (;;) {
      assert.ok(this.program.isRunning, `The server died while draining:\n${this.program.output}`);
      const { waitingEntries, waitingBatches, failedEntries } = await this.queue();
      assert.equal(failedEntries, 0, `The server gave up acknowledged data:\n${this.program.output}`);
      if (waitingEntries === 0 && waitingBatches === 0) return;
      const waited = performance.now() - startedAt;
      assert.ok(
        waited < maxMs,
        `${waitingEntries} entries still wait after ${maxMs} ms:\n${this.program.output}`,
      );
      await sleep(POLL_MS);
    }
  }

  /** As a power cut does, for the process: no handler runs, nothing is flushed. */
  async kill(): Promise<void> {
    this.program.child.kill('SIGKILL');
    await this.program.exited;
  }

  /** SIGTERM; asserts that it ends with 0 in time. */
  async stop(): Promise<void> {
    this.program.child.kill('SIGTERM');
    const timer = setTimeout(() => this.program.child.kill('SIGKILL'), MAX_STOP_MS);
    const exit = await this.program.exited;
    clearTimeout(timer);
    assert.deepEqual(exit, { code: 0, signal: null }, `SIGTERM did not end it well:\n${this.program.output}`);
  }
}
