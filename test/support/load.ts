import assert from 'node:assert/strict';
import { Agent } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { SIGNALS, type Signal } from '../../src/signal.js';
import { queryStoreEach, TABLES } from './engine.js';
import { ITEMS, requestOf } from './items.js';
import { makeHistogramsBody, makeLogsBody, makeMetricsBody, makeTracesBody } from './otlp-bodies.js';
import { type Encoding, encode, sendOtlp } from './otlp-client.js';
import type { Random } from './seed.js';

const DAY_MS = 86_400_000;

/** A body that was sent at least once: every item has the marker `<id>-<index>`. */
export interface SentBody {
  id: string;
  signal: Signal;
  encoding: Encoding;
  items: number;
  /** Given up once it is acknowledged: there are many. */
  bytes: Buffer;
  isGzip: boolean;
  /** Whether the server said that it has it. Without that it may be stored or not. */
  isAcknowledged: boolean;
}

/** Random bodies of all signals and sizes, over several days, so that a batch makes parts in several partitions. */
export function makeBody(random: Random, id: string): SentBody {
  const signal = random.pick(SIGNALS);
  const encoding = random.below(8) === 0 ? 'json' : 'protobuf';
  const items = encoding === 'json' ? 3 : random.pick([1, 5, 20, 20, 200]);
  const isGzip = random.below(3) === 0;
  const base = { id, signal, encoding, items, isGzip, isAcknowledged: false } as const;
  if (encoding === 'json') {
    const list = Array.from({ length: items }, (_, index) => ITEMS[signal](`${id}-${index}`));
    return { ...base, bytes: encode(signal, 'json', requestOf(signal, list)) };
  }
  const nowMs = Date.now() - random.pick([0, 0, 1, 3]) * DAY_MS;
  const options = { items, seed: random.below(2 ** 31), nowMs, marker: id };
  const metrics = random.below(2) === 0 ? makeMetricsBody : makeHistogramsBody;
  const make = { traces: makeTracesBody, logs: makeLogsBody, metrics }[signal];
  return { ...base, bytes: Buffer.from(make(options)) };
}

/** Sends a body once; resolves with the status, or 0 when no answer came. */
export async function sendBody(url: string, body: SentBody, agent?: Agent): Promise<number> {
  const headers: Record<string, string> = body.isGzip ? { 'content-encoding': 'gzip' } : {};
  const bytes = body.isGzip ? gzipSync(body.bytes, { level: 1 }) : body.bytes;
  try {
    const answer = await sendOtlp(url, body.signal, body.encoding, bytes, { headers, agent });
    if (answer.status === 503) assert.match(String(answer.headers['retry-after']), /^[12]$/);
    else
      assert.ok(answer.status === 200 || answer.status === 202, `${answer.status} ${answer.body.toString()}`);
    if (answer.status !== 503) {
      body.isAcknowledged = true;
      body.bytes = Buffer.alloc(0);
    }
    return answer.status;
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    return 0;
  }
}

/** Clients that send one body after the other, each on its own connection, until the server is gone or `stop`. */
export class Load {
  readonly bodies: SentBody[] = [];
  /** Answers by status; 0 counts connections that broke. */
  readonly answers = new Map<number, number>();
  private isStopped = false;
  private readonly agents: Agent[] = [];
  private readonly clients: Promise<void>[] = [];

  /**
   * @param name makes the ids unique; letters and digits only
   * @param pauseMs of each client after each answer
   */
  constructor(
    private readonly url: string,
    private readonly random: Random,
    name: string,
    connections = 4,
    private readonly pauseMs = 0,
  ) {
    for (let i = 0; i < connections; i++) this.clients.push(this.client(`${name}c${i}`));
  }

  /** Resolves when every client has its last answer. */
  async stop(): Promise<void> {
    this.isStopped = true;
    await this.ended();
  }

  /** Resolves when the server is gone. */
  async ended(): Promise<void> {
    await Promise.all(this.clients);
    for (const agent of this.agents) agent.destroy();
  }

  get acknowledged(): number {
    return this.bodies.filter((body) => body.isAcknowledged).length;
  }

  private async client(name: string): Promise<void> {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    this.agents.push(agent);
    for (let count = 0; !this.isStopped; count++) {
      const body = makeBody(this.random, `${name}n${count}`);
      this.bodies.push(body);
      const status = await sendBody(this.url, body, agent);
      this.answers.set(status, (this.answers.get(status) ?? 0) + 1);
      if (status === 0) return;
      if (status === 503) await sleep(20);
      if (this.pauseMs > 0) await sleep(this.pauseMs);
    }
  }
}

const ID = `substringIndex(attributes['test.marker'], '-', 1)`;

/** Sums by body that a materialized view keeps: a stand-in for every view that a table may have. */
export const COUNTING_VIEWS = SIGNALS.flatMap((signal) => [
  `CREATE TABLE test_counts_${signal} (id String, items UInt64) ENGINE = SummingMergeTree ORDER BY id
   SETTINGS non_replicated_deduplication_window = 1000`,
  `CREATE MATERIALIZED VIEW test_view_${signal} TO test_counts_${signal} AS
   SELECT ${ID} AS id, count() AS items FROM ${TABLES[signal]} GROUP BY id`,
]);

interface StoredBody {
  id: string;
  items: number;
  distinct: number;
}

/**
 * Asserts on a stopped server's store: every acknowledged body is there with each item once, every other one whole or not
 * at all, and nothing else. With `hasViews` the same of the sums in COUNTING_VIEWS.
 */
export async function assertExactlyOnce(
  dataDir: string,
  bodies: SentBody[],
  hasViews = false,
  hasExactLists = true,
): Promise<void> {
  const questions = SIGNALS.map((signal) => [
    `SELECT ${ID} AS id, count() AS items, uniqExact(attributes['test.marker']) AS distinct FROM ${TABLES[signal]} GROUP BY id`,
    ...(hasViews ? [`SELECT id, sum(items) AS items FROM test_counts_${signal} GROUP BY id`] : []),
    ...(hasExactLists ? LISTS[signal].flat() : []),
  ]);
  const answers = await queryStoreEach(dataDir, questions.flat());
  for (const [nth, signal] of SIGNALS.entries()) {
    const mine = answers.splice(0, questions[nth].length);
    const sent = new Map(bodies.filter((body) => body.signal === signal).map((body) => [body.id, body]));
    const stored = mine.shift() as unknown as StoredBody[];
    assertStoredOnce(signal, stored, sent);
    if (hasViews) {
      const sums = mine.shift() as unknown as StoredBody[];
      const wrongSums = sums.filter(({ id, items }) => items !== sent.get(id)?.items);
      assert.deepEqual(wrongSums.slice(0, 5), [], `${signal}: a view counts otherwise than its table`);
      assert.equal(sums.length, stored.length, `${signal}: a view lacks what its table has`);
    }
    if (hasExactLists) for (const [list] of LISTS[signal]) assert.deepEqual(mine.shift(), mine.shift(), list);
  }
}

function assertStoredOnce(signal: Signal, rows: StoredBody[], sent: Map<string, SentBody>): void {
  const wrong = rows.filter(({ id, items, distinct }) => items !== sent.get(id)?.items || distinct !== items);
  assert.deepEqual(
    wrong.map((row) => ({ ...row, sent: sent.get(row.id)?.items })).slice(0, 5),
    [],
    `${signal}: wrong`,
  );
  const stored = new Set(rows.map(({ id }) => id));
  const lost = [...sent.values()].filter((body) => body.isAcknowledged && !stored.has(body.id));
  assert.deepEqual(
    lost.map(({ id, items }) => ({ id, items })).slice(0, 5),
    [],
    `${signal}: ${lost.length} lost`,
  );
}

/** The program's own lists, which views fill, as the items themselves would fill them. */
const LISTS: Record<Signal, [string, string][]> = {
  traces: [
    [
      'SELECT sum(span_count) AS n, sum(error_count) AS m FROM mv_service_list',
      `SELECT count() AS n, countIf(status_code = 'ERROR') AS m FROM telemetry_traces`,
    ],
    [
      'SELECT uniqExact(tenant_key, trace_id, step) AS n FROM trace_steps',
      'SELECT uniqExact(tenant_id, trace_id, toStartOfFiveMinutes(timestamp)) AS n FROM telemetry_traces',
    ],
  ],
  logs: [['SELECT sum(log_count) AS n FROM mv_service_list', 'SELECT count() AS n FROM telemetry_logs']],
  metrics: [
    ['SELECT sum(metric_count) AS n FROM mv_service_list', 'SELECT count() AS n FROM telemetry_metrics'],
    [
      'SELECT uniqExact(tenant_id, hour, metric_name, service_name, metric_type, unit) AS n FROM mv_metric_list',
      'SELECT uniqExact(tenant_id, toStartOfHour(timestamp), metric_name, service_name, metric_type, unit) AS n FROM telemetry_metrics',
    ],
  ],
};
