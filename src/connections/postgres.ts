import { join } from 'node:path';
import { DataSource } from 'typeorm';
import type { Config } from '../config.js';
import { StartupError } from '../errors.js';
import type { Health } from './clickhouse.js';
import type { EmbeddedPostgres } from './pglite.js';

const POOL_SIZE = 10;
/** Connections to the embedded database beyond the pool's: commands such as `telemetryflow keys`. */
const FOR_COMMANDS = 4;
const IDLE_TIMEOUT_MS = 30_000;
const ACQUIRE_TIMEOUT_MS = 60_000;
const HEALTH_TIMEOUT_MS = 5_000;

/** The metadata database: PostgreSQL by DATABASE_URL, or PGlite in this process behind the same protocol. */
export class Postgres {
  constructor(
    readonly dataSource: DataSource,
    private readonly embedded?: EmbeddedPostgres,
  ) {}

  /** Rows of one statement; values only as `$1`, given in `parameters`. */
  query<T>(sql: string, parameters: unknown[] = []): Promise<T[]> {
    return this.dataSource.query<T[]>(sql, parameters);
  }

  /** Whether a query is answered within 5 s. */
  async health(): Promise<Health> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`no answer within ${HEALTH_TIMEOUT_MS} ms`)),
        HEALTH_TIMEOUT_MS,
      );
    });
    try {
      await Promise.race([this.query('SELECT 1'), timeout]);
      return { status: 'up' };
    } catch (error) {
      return { status: 'down', detail: (error as Error).message || String(error) };
    } finally {
      clearTimeout(timer);
    }
  }

  /** Closes the pool, then the embedded database. Idempotent. */
  async close(): Promise<void> {
    if (!this.dataSource.isInitialized) return;
    await this.dataSource.destroy();
    await this.embedded?.close();
  }
}

/** A TypeORM data source over a `pg` pool: 10 connections, closed after 30 s idle, at most 60 s wait for one. */
export async function openDataSource(
  where: { url: string } | { socketDirectory: string },
): Promise<DataSource> {
  const source = new DataSource({
    type: 'postgres',
    ...('url' in where
      ? { url: where.url }
      : { host: where.socketDirectory, username: 'postgres', database: 'postgres' }),
    applicationName: 'telemetryflow',
    poolSize: POOL_SIZE,
    connectTimeoutMS: ACQUIRE_TIMEOUT_MS,
    extra: { idleTimeoutMillis: IDLE_TIMEOUT_MS, allowExitOnIdle: true },
    // A lost idle connection is replaced by the pool; the next query tells if the server is away.
    poolErrorHandler: () => undefined,
    logging: false,
  });
  return source.initialize();
}

async function openServer(url: string): Promise<Postgres> {
  try {
    return new Postgres(await openDataSource({ url }));
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    throw new StartupError(`PostgreSQL cannot be reached (DATABASE_URL): ${message || code}`);
  }
}

/**
 * The embedded database that another process has open.
 *
 * @returns undefined when none has
 */
export async function joinPostgres(config: Pick<Config, 'DATA_DIR'>): Promise<Postgres | undefined> {
  const { openedSocket } = await import('./pglite.js');
  const socketDirectory = await openedSocket(join(config.DATA_DIR, 'postgres'));
  return socketDirectory === undefined ? undefined : new Postgres(await openDataSource({ socketDirectory }));
}

/**
 * Connects to DATABASE_URL, or opens the embedded database below DATA_DIR when it is unset.
 *
 * @throws StartupError when it cannot be reached or opened
 */
export async function openPostgres(config: Pick<Config, 'DATABASE_URL' | 'DATA_DIR'>): Promise<Postgres> {
  if (config.DATABASE_URL !== undefined) return openServer(config.DATABASE_URL);
  const { openPglite } = await import('./pglite.js');
  const embedded = await openPglite(join(config.DATA_DIR, 'postgres'), POOL_SIZE + FOR_COMMANDS);
  return new Postgres(await openDataSource(embedded), embedded);
}
