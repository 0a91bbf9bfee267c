import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './postgres-server.js';

/** A real Redis of one's own: a free port, nothing kept on disk unless that is asked for, gone afterwards. */
export interface RedisServer {
  url: string;
  /** Ends it at once. */
  kill(): Promise<void>;
  /** Starts it again on the same port; empty, unless it keeps a file. */
  start(): Promise<void>;
  /** Stops it in its tracks: connections stay open, nothing is answered. */
  freeze(): void;
  thaw(): void;
  /** Ends it and removes its folder. */
  stop(): Promise<void>;
}

const START_TIMEOUT_MS = 10_000;

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Keeps what it has, as a Redis with jobs in it has to. */
export const DURABLE = ['--appendonly', 'yes', '--appendfsync', 'always'];

/** Starts a Redis with further options. @throws Error saying what to install when there is none on this machine */
export async function startRedis(more: readonly string[] = []): Promise<RedisServer> {
  const folders = (process.env.PATH ?? '').split(':');
  const program = folders
    .map((folder) => join(folder, 'redis-server'))
    .find((candidate) => existsSync(candidate));
  if (!program) throw new Error('Redis is not installed. Debian: apt-get install redis-server');
  const folder = mkdtempSync(join(tmpdir(), 'tf-redis-'));
  const port = await freePort();
  let child: ChildProcess;
  const start = async () => {
    const options = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', ...more];
    child = spawn(program, options, { cwd: folder, stdio: 'ignore' });
    for (const deadline = Date.now() + START_TIMEOUT_MS; !(await accepts(port)); await sleep(20)) {
      if (child.exitCode !== null || Date.now() > deadline) throw new Error('Redis did not start');
    }
  };
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
  };
  process.on('exit', () => child?.kill('SIGKILL'));
  await start();
  return {
    url: `redis://127.0.0.1:${port}`,
    kill,
    start,
    freeze: () => child.kill('SIGSTOP'),
    thaw: () => child.kill('SIGCONT'),
    stop: async () => {
      await kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
