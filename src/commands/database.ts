import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DataSource } from 'typeorm';
import type { Config } from '../config.js';
import { joinPostgres, openPostgres, type Postgres } from '../connections/postgres.js';
import { lockDataDir } from '../data-dir-lock.js';
import { StartupError } from '../errors.js';

/** A server that has just been started opens its database within this. */
const MAX_JOIN_MS = 10_000;
const RETRY_MS = 100;

/**
 * Gives a command the metadata database: the server at DATABASE_URL, or the embedded one, through the process that has it
 * open when one runs on DATA_DIR, else by itself.
 *
 * @throws StartupError when it cannot be reached, or no server has been started on it yet
 */
export async function withDatabase<T>(config: Config, use: (source: DataSource) => Promise<T>): Promise<T> {
  const { postgres, release } = await open(config);
  try {
    const [made] = await postgres.query<{ made: boolean }>(
      `SELECT to_regclass('access_version') IS NOT NULL AS made`,
    );
    if (!made.made) throw notStarted(config.DATABASE_URL === undefined ? config.DATA_DIR : 'DATABASE_URL');
    return await use(postgres.dataSource);
  } finally {
    await postgres.close();
    release();
  }
}

const notStarted = (where: string) =>
  new StartupError(`${where} has no tables of this version yet. Start the server on it once.`);

async function open(config: Config): Promise<{ postgres: Postgres; release: () => void }> {
  if (config.DATABASE_URL !== undefined) return { postgres: await openPostgres(config), release: () => {} };
  if (!existsSync(join(config.DATA_DIR, 'postgres'))) throw notStarted(config.DATA_DIR);
  const until = Date.now() + MAX_JOIN_MS;
  for (;;) {
    const joined = await joinPostgres(config);
    if (joined) return { postgres: joined, release: () => {} };
    try {
      const release = lockDataDir(config.DATA_DIR);
      return { postgres: await openPostgres(config).catch(releasing(release)), release };
    } catch (error) {
      // Somebody has it who has not opened the database yet, or not any more.
      if (!(error instanceof StartupError) || Date.now() > until) throw error;
      await sleep(RETRY_MS);
    }
  }
}

function releasing(release: () => void): (error: unknown) => never {
  return (error) => {
    release();
    throw error;
  };
}
