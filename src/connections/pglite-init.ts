import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deserialize, serialize, setFlagsFromString } from 'node:v8';
import { gunzipSync, gzipSync } from 'node:zlib';
import { PACKAGE_ROOT } from '../version.js';

/**
 * Makes a new PGlite data directory and exits: run as a process of its own, because initdb leaves 600 MB of resident
 * memory behind that the program would carry for as long as it runs.
 *
 * initdb takes 3 to 4 s of CPU, and makes the same each time. So the build runs it once and keeps what it made in one file; a
 * directory made from that takes a tenth. Where there is no such file initdb runs.
 *
 * @param process.argv[2] the directory, which must be empty; or `--archive`: makes that file instead
 * @param process.argv[3] that file
 */

const ARCHIVE = join(PACKAGE_ROOT, 'dist', 'postgres.gz');

/** A folder (no bytes) or a file; a folder comes before what is in it. */
type Entry = [path: string, bytes: Uint8Array | undefined];

async function initialise(directory: string): Promise<void> {
  setFlagsFromString('--liftoff-only');
  const { PGlite } = await import('@electric-sql/pglite');
  const database = await PGlite.create({
    dataDir: directory,
    startParams: [...PGlite.defaultStartParams, '-c', 'shared_buffers=2MB'],
    // 1 MiB instead of 16 MiB: the write-ahead log of a few users and keys need not take 80 MiB of disk.
    initDbStartParams: ['--wal-segsize=1'],
  });
  await database.close();
}

function pack(directory: string, below = ''): Entry[] {
  return readdirSync(join(directory, below), { withFileTypes: true }).flatMap((found): Entry[] => {
    const path = join(below, found.name);
    if (found.isDirectory()) return [[path, undefined], ...pack(directory, path)];
    return [[path, readFileSync(join(directory, path))]];
  });
}

function unpack(archive: string, directory: string): void {
  for (const [path, bytes] of deserialize(gunzipSync(readFileSync(archive))) as Entry[]) {
    if (bytes) writeFileSync(join(directory, path), bytes, { mode: 0o600 });
    else mkdirSync(join(directory, path), { mode: 0o700 });
  }
}

async function makeArchive(archive: string): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tf-initdb-'));
  const draft = `${archive}.${process.pid}`;
  try {
    await initialise(directory);
    writeFileSync(draft, gzipSync(serialize(pack(directory))));
    renameSync(draft, archive);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const [wanted, archive = ARCHIVE] = process.argv.slice(2);
if (wanted === '--archive') await makeArchive(archive);
else if (existsSync(archive)) unpack(archive, wanted);
else await initialise(wanted);
process.exit(0);
