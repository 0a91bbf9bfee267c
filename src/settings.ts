import { z } from 'zod';
import { QUEUE_SETTINGS } from './queue-numbers.js';
import { RETENTION_SETTINGS } from './retention.js';
import {
  baseUrl,
  bytes,
  integer,
  limit,
  milliseconds,
  networks,
  origins,
  port,
  url,
} from './setting-types.js';

export const ROLES = ['api', 'worker', 'scheduler'] as const;
export type Role = (typeof ROLES)[number];
const roles = z.string().transform((text, context) => {
  const names = text.split(',').map((name) => name.trim());
  if (names.every((name) => (ROLES as readonly string[]).includes(name))) return new Set(names as Role[]);
  context.addIssue({ code: 'custom', message: `a comma-separated list of ${ROLES.join(', ')}` });
  return z.NEVER;
});

const longSecret = z.string().min(32, '32 characters or more');

export interface Setting {
  schema: z.ZodType<unknown, string>;
  default?: string;
  meaning: string;
  secret?: true;
}

/** Every setting: its type, default and meaning. `telemetryflow config` prints this table. */
export const SETTINGS = {
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
  CLICKHOUSE_CLUSTER: {
    schema: z.string().regex(/^[\w.-]+$/, 'a name of letters, digits, _, . and -'),
    meaning: 'cluster of that server to spread and replicate the tables on; unset: that server alone',
  },
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
    schema: longSecret,
    meaning: 'signs login tokens; unset: made on the first start, kept in DATA_DIR',
    secret: true,
  },
  TRUST_PROXY: {
    schema: networks,
    default: '',
    meaning: 'proxies whose X-Forwarded-For is believed: addresses or networks, comma-separated',
  },
  SECRET_KEY: {
    schema: longSecret,
    meaning: 'encrypts the secrets of notification channels; unset: made and kept in DATA_DIR',
    secret: true,
  },
  SECRET_KEY_PREVIOUS: {
    schema: longSecret,
    meaning: 'the SECRET_KEY before: what it encrypted is encrypted anew at the start',
    secret: true,
  },
  PUBLIC_URL: {
    schema: baseUrl,
    meaning:
      'where others reach PORT, such as https://telemetry.example; notifications link there; unset: no links',
  },
  NOTIFY_ALLOW_NETWORKS: {
    schema: networks,
    default: '',
    meaning: 'private networks that webhooks and email may go to, comma-separated; empty: none',
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
    meaning: '1: listen beyond this machine even with anonymous ingest or generated secrets',
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
  QUERY_MAX_SECONDS: {
    schema: integer(1, 3600),
    default: '30',
    meaning: 'time that the store may take over one question (s)',
  },
  QUERY_MAX_MEMORY: {
    schema: bytes,
    default: '1GiB',
    meaning: 'memory of one statement; embedded: never more than a third of MEMORY_LIMIT',
  },
  QUERY_MAX_ROWS: {
    schema: integer(1, 1_000_000_000_000),
    default: '1000000000',
    meaning: 'rows that one statement may read',
  },
  QUERY_MAX_AT_ONCE: {
    schema: integer(1, 1000),
    default: '2',
    meaning: 'statements of one tenant at once; more wait, so that others have their turn',
  },
  ...QUEUE_SETTINGS,
  ...RETENTION_SETTINGS,
  DISK_LIMIT: {
    schema: bytes,
    meaning: 'size of DATA_DIR at which the oldest telemetry goes before its time; unset: none',
  },
  CANARY_INTERVAL_MS: {
    schema: integer(0, 3_600_000),
    default: '10000',
    meaning: 'how often the program sends itself an item and waits until it is seen (ms); 0: never',
  },
  ROLLUP_LATE_HOURS: {
    schema: integer(0, 8760),
    default: '24',
    meaning: 'metrics so late change their hour within an hour, later ones at night (hours after its end)',
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
