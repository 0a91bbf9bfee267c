import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, statfs, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import type { PGlite } from '@electric-sql/pglite';
import { StartupError } from '../errors.js';
import { PgliteTurns } from './pglite-turns.js';

/** A unix socket's path may have 107 bytes on Linux and 103 on macOS. */
const MAX_SOCKET_PATH_BYTES = 103;
/** The name PostgreSQL clients look for in a socket directory. */
const SOCKET_NAME = '.s.PGSQL.5432';

/** A segment of the write-ahead log takes 1 MiB, temporary files some more. */
const LITTLE_ROOM_BYTES = 8 * 1024 * 1024;

/** Beside the data directory: where the process that has it open has put its socket, for commands run by the same user. */
const socketNote = (directory: string) => `${directory}.socket`;

/** PGlite behind a socket that every PostgreSQL client can connect to. */
export interface EmbeddedPostgres {
  /** Directory of the socket: `host` of a PostgreSQL client; readable by this user alone. */
  socketDirectory: string;
  /** Writes everything into the data files and stops; no client may be connected any more. */
  close(): Promise<void>;
}

/**
 * The socket directory of the process that has this data directory open; undefined when it has not opened it yet, or left
 * a note behind when it was killed.
 */
export async function openedSocket(directory: string): Promise<string | undefined> {
  const socketDirectory = await readFile(socketNote(directory), 'utf8').catch(() => undefined);
  if (socketDirectory === undefined) return undefined;
  return new Promise((resolve) => {
    const socket = connect(join(socketDirectory, SOCKET_NAME));
    socket.once('connect', () => resolve(socketDirectory)).once('error', () => resolve(undefined));
    socket.once('connect', () => socket.destroy());
  });
}

async function makeSocketDirectory(): Promise<string> {
  const fits = (base: string) =>
    Buffer.byteLength(join(base, 'tf-XXXXXX', SOCKET_NAME)) <= MAX_SOCKET_PATH_BYTES;
  return mkdtemp(join(fits(tmpdir()) ? tmpdir() : '/tmp', 'tf-'));
}

/** Removes what starts that were killed have left; an initdb that outlived one of them may still be writing there. */
async function removeDrafts(directory: string): Promise<void> {
  const prefix = `${basename(directory)}.new`;
  for (const name of await readdir(dirname(directory))) {
    if (!name.startsWith(prefix)) continue;
    await rm(join(dirname(directory), name), { recursive: true, force: true }).catch(() => undefined);
  }
}

/**
 * Makes a data directory in a child process (`pglite-init.ts`), in a directory of its own that gets its name only when it is complete: the child of a
 * start that was killed goes on for a while, and must not meet this one's.
 */
async function initialise(directory: string): Promise<void> {
  const here = fileURLToPath(import.meta.url);
  const script = join(here, '..', `pglite-init${extname(here)}`);
  await mkdir(dirname(directory), { recursive: true });
  await removeDrafts(directory);
  const draft = await mkdtemp(`${directory}.new-`);
  try {
    await promisify(execFile)(process.execPath, [script, draft]);
  } catch (error) {
    const output = (error as { stderr?: string }).stderr ?? '';
    const said = /^\w*Error: .*$/m.exec(output)?.[0] ?? (output.trim() || (error as Error).message);
    throw new StartupError(`The embedded PostgreSQL cannot make its data directory ${directory}: ${said}`);
  }
  await rename(draft, directory);
}

/** PGlite does not say what PostgreSQL complained of, which most often is a full disk. */
async function roomHint(directory: string): Promise<string> {
  const { bavail, bsize } = await statfs(directory);
  const bytes = bavail * bsize;
  return bytes < LITTLE_ROOM_BYTES ? `. Its disk has ${bytes} bytes of space left` : '';
}

/**
 * Opens (the first time: creates) the embedded PostgreSQL.
 *
 * Its defaults take 245 MB of resident memory. Here it is 60: `shared_buffers` is zeroed whole at start, so 2 MB
 * instead of 128 saves 125; and the baseline compiler alone saves 40 of optimised code, and the optimising, which
 * takes 5 % of a core for seconds. A look-up by index takes 1.1 ms either way; a heavier query 2.3 ms instead of 0.9.
 *
 * It runs without fsync: a crash of the process loses nothing, a power loss may; see docs/decisions/connections.md.
 *
 * @throws StartupError when the directory cannot be created or opened
 */
export async function openPglite(directory: string, maxConnections: number): Promise<EmbeddedPostgres> {
  if (!existsSync(directory)) await initialise(directory);
  // PostgreSQL's own lock: of no use, since DATA_DIR has one and every PGlite has the same pid; and one that a kill left empty would
  // be refused from then on.
  await rm(join(directory, 'postmaster.pid'), { force: true });
  setFlagsFromString('--liftoff-only');
  const [{ PGlite: Database }, { PGLiteSocketServer }] = await Promise.all([
    import('@electric-sql/pglite'),
    import('@electric-sql/pglite-socket'),
  ]);
  let database: PGlite;
  try {
    database = await Database.create({
      dataDir: directory,
      startParams: [...Database.defaultStartParams, '-c', 'shared_buffers=2MB'],
    });
  } catch (error) {
    throw new StartupError(
      `The embedded PostgreSQL cannot open ${directory}: ${(error as Error).message ?? error}${await roomHint(directory)}`,
    );
  }
  const socketDirectory = await makeSocketDirectory();
  const server = new PGLiteSocketServer({
    db: database,
    path: join(socketDirectory, SOCKET_NAME),
    maxConnections,
  });
  // Not part of its interface: `PgliteTurns` says why.
  (server as unknown as { queryQueue: PgliteTurns }).queryQueue = new PgliteTurns(database);
  await server.start();
  await writeFile(socketNote(directory), socketDirectory, { mode: 0o600 });
  return {
    socketDirectory,
    close: async () => {
      await rm(socketNote(directory), { force: true });
      await server.stop();
      await database.exec('CHECKPOINT');
      await database.close();
      await rm(socketDirectory, { recursive: true, force: true });
    },
  };
}
