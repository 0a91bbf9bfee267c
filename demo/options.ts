import { parseArgs } from 'node:util';

export interface DemoOptions {
  /** Requests of shoppers per second. */
  rate: number;
  /** Infinity: until stopped. */
  durationMs: number;
  endpoint: string;
  /** Where the query API is, for the addresses printed at the end. */
  api: string;
  /** OTLP/JSON instead of protobuf. */
  json: boolean;
  seed: number;
  /** Sent as `Authorization: Bearer`. */
  key: string | undefined;
}

export const USAGE = `npm run demo -- [options]      a small web shop sends traces, metrics and logs to an OTLP endpoint

  --rate <n>         requests of shoppers per second (10)
  --duration <time>  30, 30s, 5m, 1h; without it: until Ctrl+C
  --endpoint <url>   OTLP over HTTP (http://127.0.0.1:4318)
  --api <url>        query API, for the addresses shown at the end (http://127.0.0.1:3000)
  --json             OTLP/JSON instead of protobuf
  --key <key>        ingest key, where the server asks for one
  --seed <n>         the same shoppers again

Each can be given in the environment, too: DEMO_RATE=50 npm run demo
`;

const MS_PER_UNIT: Record<string, number> = { '': 1000, s: 1000, m: 60_000, h: 3_600_000 };

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0) || !Number.isFinite(value))
    throw new Error(`--${name} ${text}: expected a number above 0`);
  return value;
}

function durationMs(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([smh]?)$/.exec(text);
  if (!match) throw new Error(`--duration ${text}: expected a time such as 30, 30s, 5m or 1h`);
  return Number(match[1]) * MS_PER_UNIT[match[2]];
}

function seedOf(text: string | undefined): number {
  if (text === undefined) return Math.floor(Math.random() * 2 ** 32);
  if (!/^\d+$/.test(text)) throw new Error(`--seed ${text}: expected a whole number`);
  return Number(text);
}

function url(name: string, text: string): string {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text))
    throw new Error(`--${name} ${text}: expected an http URL`);
  return text.replace(/\/+$/, '');
}

/**
 * @returns undefined when help was asked for
 * @throws Error that says what was given and what is allowed
 */
export function parseOptions(args: string[], env: NodeJS.ProcessEnv): DemoOptions | undefined {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    args,
    options: {
      rate: text,
      duration: text,
      endpoint: text,
      api: text,
      seed: text,
      key: text,
      json: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) return undefined;
  const setting = (name: Exclude<keyof typeof values, 'json' | 'help'>) =>
    values[name] ?? (env[`DEMO_${name.toUpperCase()}`] || undefined);
  const duration = setting('duration');
  const json = env.DEMO_JSON;
  return {
    rate: positive('rate', setting('rate') ?? '10'),
    durationMs: duration === undefined ? Number.POSITIVE_INFINITY : durationMs(duration),
    endpoint: url('endpoint', setting('endpoint') ?? 'http://127.0.0.1:4318'),
    api: url('api', setting('api') ?? 'http://127.0.0.1:3000'),
    json: values.json ?? (json !== undefined && json !== '' && json !== '0'),
    seed: seedOf(setting('seed')),
    key: setting('key'),
  };
}
