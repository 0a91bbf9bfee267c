import { isIP } from 'node:net';
import { availableParallelism, totalmem } from 'node:os';
import { resolve } from 'node:path';
import type { z } from 'zod';
import { StartupError } from './errors.js';
import type { AllQueueNumbers } from './queue-numbers.js';
import { ROLES, SETTINGS, type Setting } from './settings.js';

export type SettingName = keyof typeof SETTINGS;
type Env = Partial<Record<string, string>>;
type Value<N extends SettingName> = z.output<(typeof SETTINGS)[N]['schema']>;
type Optional =
  | 'CLICKHOUSE_URL'
  | 'CLICKHOUSE_CLUSTER'
  | 'DATABASE_URL'
  | 'DISK_LIMIT'
  | 'REDIS_URL'
  | 'JWT_SECRET'
  | 'PUBLIC_URL'
  | 'SECRET_KEY'
  | 'SECRET_KEY_PREVIOUS'
  | 'FAILPOINT';

export type Config = Readonly<
  { [N in Exclude<SettingName, Optional | 'MEMORY_LIMIT'>]: Value<N> } & {
    [N in Optional]: Value<N> | undefined;
  } & {
    MEMORY_LIMIT: number;
    cpuCount: number;
    /** Threads that libuv shares among files, zlib, DNS and the embedded engine's statements. */
    threadPoolSize: number;
  }
>;

/**
 * Reads the settings once. A bad value stops the start with the setting's name, what was given and what is
 * allowed; all bad values are told at once.
 *
 * @param env the environment, `process.env` unless a test says otherwise
 * @throws StartupError
 */
export function loadConfig(env: Env = process.env): Config {
  const values: Record<string, unknown> = {};
  const problems: string[] = [];
  for (const [name, setting] of Object.entries(SETTINGS) as [SettingName, Setting][]) {
    const text = env[name] || setting.default;
    if (text === undefined) continue;
    const parsed = setting.schema.safeParse(text);
    if (parsed.success) values[name] = parsed.data;
    else
      problems.push(
        `${name}=${setting.secret ? '(hidden)' : text}: expected ${parsed.error.issues[0].message}`,
      );
  }
  if (problems.length === 0) {
    const config = values as unknown as Config;
    problems.push(...insecure(config), ...apart(config), ...clusterless(config));
  }
  if (problems.length > 0) throw new StartupError(`Bad settings:\n  ${problems.join('\n  ')}`);
  values.DATA_DIR = resolve(values.DATA_DIR as string);
  for (const signal of ['LOGS', 'TRACES', 'METRICS'])
    values[`RETENTION_${signal}_DAYS`] ??= values.RETENTION_DAYS;
  values.MEMORY_LIMIT ??= Math.floor(totalmem() / 2);
  values.cpuCount = availableParallelism();
  // Of this process, not of `env`: it counts only when it was set before the first use of the pool.
  values.threadPoolSize = Number(process.env.UV_THREADPOOL_SIZE) || 4;
  return Object.freeze(values) as Config;
}

/** Whether a HOST to listen on is reached from this machine alone. */
export function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** What must not be left to defaults when others can reach the program. */
function insecure(config: Config): string[] {
  if (isLoopbackHost(config.HOST) || config.ALLOW_INSECURE === '1') return [];
  const beyond = `HOST=${config.HOST} is reached from other machines:`;
  const problems: string[] = [];
  for (const name of ['JWT_SECRET', 'SECRET_KEY'] as const) {
    if (config[name] === undefined)
      problems.push(`${beyond} set ${name} (32 random characters or more), or ALLOW_INSECURE=1`);
  }
  if (config.INGEST_ANONYMOUS !== 'off')
    problems.push(`${beyond} set INGEST_ANONYMOUS=off, or ALLOW_INSECURE=1`);
  return problems;
}

/** What processes that share the work cannot do without: everything built in lives in one process. */
function apart(config: Config): string[] {
  if (ROLES.every((role) => config.TF_ROLES.has(role))) return [];
  const roles = [...config.TF_ROLES].join(',');
  const needed = {
    CLICKHOUSE_URL: 'a ClickHouse',
    DATABASE_URL: 'a PostgreSQL',
    REDIS_URL: 'a Redis',
  } as const;
  return (Object.keys(needed) as (keyof typeof needed)[])
    .filter((name) => config[name] === undefined)
    .map(
      (name) =>
        `TF_ROLES=${roles} leaves work to other processes: set ${name}, ${needed[name]} that all share`,
    );
}

/** The embedded engine is one process: it has no cluster. */
function clusterless({ CLICKHOUSE_CLUSTER, CLICKHOUSE_URL }: Config): string[] {
  if (CLICKHOUSE_CLUSTER === undefined || CLICKHOUSE_URL !== undefined) return [];
  return [
    `CLICKHOUSE_CLUSTER=${CLICKHOUSE_CLUSTER} is a cluster of ClickHouse servers: set CLICKHOUSE_URL to one of them`,
  ];
}

/** One line per setting: name, value in force (secrets hidden), default, meaning. */
export function describeConfig(env: Env = process.env): string {
  const settings = Object.entries(SETTINGS) as [SettingName, Setting][];
  const width = Math.max(...settings.map(([name]) => name.length)) + 2;
  return settings
    .map(([name, setting]) => {
      const value = env[name] || (setting.default ?? '(unset)') || '(none)';
      const shown = setting.secret && env[name] ? '(hidden)' : value;
      return `${name.padEnd(width)}${String(shown).padEnd(24)}  ${setting.meaning}`;
    })
    .join('\n');
}

/** The numbers of all queues. */
export const allQueueNumbers = (config: Config): AllQueueNumbers => ({
  'otlp-ingestion': config.QUEUE_OTLP_INGESTION,
  'alert-evaluation': config.QUEUE_ALERT_EVALUATION,
  aggregation: config.QUEUE_AGGREGATION,
  notification: config.QUEUE_NOTIFICATION,
  cleanup: config.QUEUE_CLEANUP,
});

/** Injection token of the settings. */
export const CONFIG = Symbol('CONFIG');
