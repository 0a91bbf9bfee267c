import { setFlagsFromString } from 'node:v8';

/**
 * Makes a new PGlite data directory and exits: run as a process of its own, because initdb leaves 600 MB of resident
 * memory behind that the program would carry for as long as it runs.
 *
 * @param process.argv[2] the directory, which must be empty
 */
setFlagsFromString('--liftoff-only');
const { PGlite } = await import('@electric-sql/pglite');
const database = await PGlite.create({
  dataDir: process.argv[2],
  startParams: [...PGlite.defaultStartParams, '-c', 'shared_buffers=2MB'],
  // 1 MiB instead of 16 MiB: the write-ahead log of a few users and keys need not take 80 MiB of disk.
  initDbStartParams: ['--wal-segsize=1'],
});
await database.close();
process.exit(0);
