import { randomBytes } from 'node:crypto';
import { inspect, parseArgs } from 'node:util';
import { StartupError } from '../errors.js';
import type { Signal } from '../signal.js';
import { type Encoding, OtlpClient } from './otlp-client.js';
import { type Compared, compareItem, itemsOf, type Sent } from './otlp-compare.js';
import { type Fixture, fixtureOf } from './otlp-fixture.js';
import { Run } from './otlp-run.js';

export interface VerifyOptions {
  /** Base URL of OTLP over HTTP. */
  endpoint: string;
  /** Base URL of the query API. */
  api: string;
  key?: string;
  /** How long to wait for what was sent to be visible. */
  timeoutMs?: number;
}

export interface VerifyResult {
  compared: number;
  different: number;
  /** What is printed: a line per field of the messages sent. */
  report: string[];
}

const USAGE = `telemetryflow verify-otlp [options]

Sends every OTLP field to a running server, as protobuf and as JSON, reads it back, compares field by field.
What it sends stays in the tenant's data, under services named telemetryflow-verify-*.

  --endpoint <url>   OTLP over HTTP (http://127.0.0.1:4318)
  --api <url>        query API (http://127.0.0.1:3000)
  --key <key>        one with the permissions ingest and read: telemetryflow keys create --permissions ingest,read
  --timeout <s>      how long to wait for what was sent to be visible (15)
`;
const DEFAULTS = { endpoint: 'http://127.0.0.1:4318', api: 'http://127.0.0.1:3000', timeout: '15' };
const ENCODINGS: Encoding[] = ['protobuf', 'json'];
const SIGNALS: Signal[] = ['traces', 'logs', 'metrics'];
/** Items are this old when sent: old enough to be before every "now". */
const AGE_MS = 60_000;

/** Items that one question to the API gives back, oldest first. */
interface Question {
  path: string;
  field: string;
  items: Sent[];
}

/**
 * Makes the round trip of every OTLP field against a running server.
 *
 * @throws StartupError when nobody answers, or the server does not take what is sent
 */
export async function verifyOtlp(options: VerifyOptions): Promise<VerifyResult> {
  const client = new OtlpClient(options.endpoint, options.api, options.key, options.timeoutMs ?? 15_000);
  const result: VerifyResult = { compared: 0, different: 0, report: [] };
  // A resource is compared on every row that came with it, but told once.
  const lines = new Set<string>();
  for (const encoding of ENCODINGS) {
    const ids = randomBytes(16).toString('hex');
    const firstUnixNano = BigInt(Date.now() - AGE_MS) * 1_000_000n + 123_457n;
    const run = new Run(`${encoding}-${ids.slice(0, 8)}`, ids, firstUnixNano);
    const fixture = fixtureOf(run);
    for (const signal of SIGNALS) await client.send(signal, fixture[signal], encoding);
    for (const question of questionsOf(fixture, run)) {
      const answers = await client.readBack(question.path, question.field, question.items.length);
      const found = compareAnswers(question, answers);
      result.compared += found.length;
      result.different += found.filter(({ same }) => !same).length;
      for (const compared of found) lines.add(lineOf(encoding, compared));
    }
  }
  result.report = [...lines];
  return result;
}

function questionsOf(fixture: Fixture, run: Run): Question[] {
  const spans = itemsOf(fixture.traces);
  const records = itemsOf(fixture.logs);
  const points = itemsOf(fixture.metrics);
  const named = records.filter(({ messages }) => messages.resource.resource);
  const nameless = records.filter(({ messages }) => !messages.resource.resource);
  const range = 'from=now-1h&to=now&order=asc&limit=1000';
  const metrics = new Set(points.map(({ messages }) => String(messages.metric.name)));
  return [
    { path: `traces/${run.traceId}`, field: 'spans', items: spans },
    { path: `logs?service=${run.service}&${range}`, field: 'data', items: named },
    { path: `logs?trace_id=${run.otherTraceId}&${range}`, field: 'data', items: nameless },
    ...[...metrics].map((name) => ({
      path: `metrics/points?metric=${name}&${range}`,
      field: 'data',
      items: points.filter(({ messages }) => messages.metric.name === name),
    })),
  ];
}

function compareAnswers({ path, items }: Question, answers: Record<string, unknown>[]): Compared[] {
  const [expected, actual] = [items.length, answers.length];
  const count = {
    otlp: `items of ${path.split('?')[0]}`,
    api: path,
    expected,
    actual,
    same: expected === actual,
  };
  return [count, ...items.flatMap((item, index) => compareOrMiss(item, answers[index]))];
}

/** An item that never became visible is one difference, not one for each of its fields. */
function compareOrMiss(item: Sent, answer: Record<string, unknown> | undefined): Compared[] {
  if (answer) return compareItem(item, answer);
  return [{ otlp: item.paths.item, api: '', expected: 'the item', actual: 'no answer', same: false }];
}

function lineOf(encoding: Encoding, { otlp, api, expected, actual, same }: Compared): string {
  const show = (value: unknown) => inspect(value, { breakLength: Number.POSITIVE_INFINITY, depth: 20 });
  if (same) return `ok         ${encoding}  ${otlp}  ->  ${api}`;
  return `DIFFERENT  ${encoding}  ${otlp}  ->  ${api}: expected ${show(expected)}, got ${show(actual)}`;
}

function parseOptions(args: string[]) {
  const text = { type: 'string' } as const;
  const help = { type: 'boolean', short: 'h' } as const;
  try {
    return parseArgs({ args, options: { endpoint: text, api: text, key: text, timeout: text, help } }).values;
  } catch (error) {
    throw new StartupError(`${(error as Error).message}\n\n${USAGE}`);
  }
}

/**
 * The command: prints every field compared and the totals.
 *
 * @returns the exit code: 0 when all is the same, 1 otherwise
 */
export async function verifyOtlpCommand(args: string[]): Promise<number> {
  const values = parseOptions(args);
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const { endpoint, api, timeout, key } = { ...DEFAULTS, ...values };
  const trimmed = (url: string) => url.replace(/\/+$/, '');
  const timeoutMs = Number(timeout) * 1000;
  if (!(timeoutMs > 0)) throw new StartupError(`--timeout ${timeout}: expected seconds`);
  const result = await verifyOtlp({ endpoint: trimmed(endpoint), api: trimmed(api), key, timeoutMs });
  const { compared, different, report } = result;
  console.log(report.join('\n'));
  console.log(`\n${compared} fields compared, ${compared - different} ok, ${different} different`);
  return different > 0 ? 1 : 0;
}
