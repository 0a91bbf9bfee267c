import { isIP } from 'node:net';
import { availableParallelism, totalmem } from 'node:os';
import { resolve } from 'node:path';
import { z } from 'zod';
import { StartupError } from './errors.js';
import { queueNumbers, queueNumbersText } from './queue-numbers.js';
import { bytes, integer, limit, milliseconds, networks, origins, port, url } from './setting-types.js';

const ROLES = ['api', 'worker', 'scheduler'] as const;
export type Role = (typeof ROLES)[number];
const roles = z.string().transform((text, context) => {
  const names = text.split(',').map((name) => name.trim());
  if (names.every((name) => (ROLES as readonly string[]).includes(name))) return new Set(names as Role[]);
  context.addIssue({ code: 'custom', message: `a comma-separated list of ${ROLES.join(', ')}` });
  return z.NEVER;
});

interface Setting {
  schema: z.ZodType<unknown, string>;
  default?: string;
  meaning: string;
  secret?: true;
}

/** Every setting: its type, default and meaning. `telemetryflow config` prints this table. */
const SETTINGS = {
  HOST: { schema: z.string().min(1), default: '127.0.0.1', meaning: 'address to listen on' },
  PORT: { schema: port, default: '3000', meaning: 'API and UI, also serves /v1/*; 0 picks a free port' },
  OTLP_HTTP_PORT: { schema: port, default: '4318', meaning: 'OTLP over HTTP' },
  OTLP_GRPC_PORT: { schema: port, default: '4317', meaning: 'OTLP over gRPC' },
  DATA_DIR: {
    schema: z.string().min(1),
    default: './data',
    meaning: 'where everything built in keeps its files',
  },
  TF_ROLES: { schema: roles, default: ROLES.join(','), meaning: 'what this process does' },
  CLICKHOUSE_URL: { schema: url('http:', 'https:'), meaning: 'ClickHouse server; unset: embedded' },
  CLICKHOUSE_DATABASE: {
    schema: z.string().regex(/^\w+$/),
    default: 'telemetryflow',
    meaning: 'database name',
  },
  CLICKHOUSE_USER: { schema: z.string(), default: 'default', meaning: 'user on the ClickHouse server' },
  CLICKHOUSE_PASSWORD: { schema: z.string(), default: '', meaning: 'its password', secret: true },
  DATABASE_URL: {
    schema: url('postgres:', 'postgresql:'),
    meaning: 'PostgreSQL server; unset: embedded',
    secret: true,
  },
  REDIS_ALLOW_VOLATILE: {
    schema: z.enum(['0', '1']),
    default: '0',
    meaning: '1: start with a Redis that may lose or evict jobs (docs/operate.md)',
  },
  REDIS_URL: {
    schema: url('redis:', 'rediss:'),
    meaning:
      'Redis, which instances share queues, rate limits and cached answers by; unset: each has its own',
    secret: true,
  },
  CACHE_L1_ENTRIES: {
    schema: integer(0, 10_000_000),
    default: '1000',
    meaning: 'answers kept in memory, at most; 0: none is kept, in Redis neither',
  },
  CACHE_L1_BYTES: { schema: bytes, default: '64MiB', meaning: 'memory for them, at most' },
  INGEST_ANONYMOUS: {
    schema: z.enum(['off', 'loopback']),
    default: 'loopback',
    meaning: 'loopback: OTLP without a key, from this machine only, goes to the default tenant',
  },
  THROTTLE_TTL: {
    schema: milliseconds,
    default: '60000',
    meaning: 'time in which THROTTLE_LIMIT refills (ms)',
  },
  THROTTLE_LIMIT: {
    schema: limit,
    default: '100',
    meaning: 'API requests per THROTTLE_TTL and key, user or address; 0: no limit',
  },
  THROTTLE_INGESTION_TTL: { schema: milliseconds, default: '60000', meaning: 'the same for OTLP (ms)' },
  THROTTLE_INGESTION_LIMIT: {
    schema: limit,
    default: '1000',
    meaning: 'OTLP requests per THROTTLE_INGESTION_TTL; 0: no limit',
  },
  JWT_SECRET: {
    schema: z.string().min(32, '32 characters or more'),
    meaning: 'signs login tokens; unset: made on the first start, kept in DATA_DIR',
    secret: true,
  },
  TRUST_PROXY: {
    schema: networks,
    default: '',
    meaning: 'proxies whose X-Forwarded-For is believed: addresses or networks, comma-separated',
  },
  MAX_CONNECTIONS: {
    schema: integer(1, 1_000_000),
    default: '8192',
    meaning: 'open HTTP connections; never more than half of the files this process may open',
  },
  MAX_CONNECTIONS_PER_ADDRESS: {
    schema: integer(1, 1_000_000),
    default: '1024',
    meaning: 'of one address (IPv6: one /64); this machine and TRUST_PROXY are not counted',
  },
  CORS_ORIGINS: {
    schema: origins,
    default: '',
    meaning: 'web origins that browsers may call from, comma-separated; empty: none',
  },
  ALLOW_INSECURE: {
    schema: z.enum(['0', '1']),
    default: '0',
    meaning: '1: listen beyond this machine even with anonymous ingest or a generated JWT_SECRET',
  },
  MEMORY_LIMIT: { schema: bytes, meaning: 'memory budget of the whole process; unset: half of the machine' },
  INGEST_BACKLOG_BYTES: {
    schema: bytes,
    default: '4GiB',
    meaning: 'acknowledged data waiting on disk for the store; at it ingest answers 503',
  },
  MAX_BODY_BYTES: { schema: bytes, default: '16MiB', meaning: 'largest request body as sent' },
  MAX_INFLATED_BYTES: {
    schema: bytes,
    default: '64MiB',
    meaning: 'largest request body after decompression',
  },
  QUEUE_OTLP_INGESTION: {
    schema: queueNumbers('otlp-ingestion'),
    default: queueNumbersText('otlp-ingestion'),
    meaning: 'numbers of this queue; what is not named keeps its default',
  },
  QUEUE_ALERT_EVALUATION: {
    schema: queueNumbers('alert-evaluation'),
    default: queueNumbersText('alert-evaluation'),
    meaning: 'the same',
  },
  QUEUE_AGGREGATION: {
    schema: queueNumbers('aggregation'),
    default: queueNumbersText('aggregation'),
    meaning: 'the same',
  },
  QUEUE_NOTIFICATION: {
    schema: queueNumbers('notification'),
    default: queueNumbersText('notification'),
    meaning: 'the same',
  },
  QUEUE_CLEANUP: {
    schema: queueNumbers('cleanup'),
    default: queueNumbersText('cleanup'),
    meaning: 'the same',
  },
  RETENTION_DAYS: {
    schema: integer(1, 3650),
    default: '30',
    meaning: 'telemetry older than this is refused on arrival (days)',
  },
  FAILPOINT: {
    schema: z.string().regex(/^[a-z-]+(:\d+)?$/, 'a step, or step:count'),
    meaning: 'for tests: kill this process at a named step of the ingest pipeline',
  },
  LOG_LEVEL: {
    schema: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']),
    default: 'info',
    meaning: 'lowest level that is logged',
  },
} as const satisfies Record<string, Setting>;

export type SettingName = keyof typeof SETTINGS;
type Env = Partial<Record<string, string>>;
type Value<N extends SettingName> = z.output<(typeof SETTINGS)[N]['schema']>;
type Optional = 'CLICKHOUSE_URL' | 'DATABASE_URL' | 'REDIS_URL' | 'JWT_SECRET' | 'FAILPOINT';

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
    problems.push(...insecure(values as unknown as Config), ...apart(values as unknown as Config));
  }
  if (problems.length > 0) throw new StartupError(`Bad settings:\n  ${problems.join('\n  ')}`);
  values.DATA_DIR = resolve(values.DATA_DIR as string);
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
  if (config.JWT_SECRET === undefined)
    problems.push(`${beyond} set JWT_SECRET (32 random characters or more), or ALLOW_INSECURE=1`);
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

/** One line per setting: name, value in force (secrets hidden), default, meaning. */
export function describeConfig(env: Env = process.env): string {
  const settings = Object.entries(SETTINGS) as [SettingName, Setting][];
  const width = Math.max(...settings.map(([name]) => name.length)) + 2;
  return settings
    .map(([name, setting]) => {
      const value = env[name] || (setting.default ?? '(unset)') || '(none)';
      const shown = setting.secret && env[name] ? '(hidden)' : value;
      return `${name.padEnd(width)}${String(shown).padEnd(26)}${setting.meaning}`;
    })
    .join('\n');
}

/** Injection token of the settings. */
export const CONFIG = Symbol('CONFIG');
