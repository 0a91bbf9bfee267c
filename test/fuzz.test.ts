import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { SIGNALS, type Signal } from '../src/signal.js';
import { countJsonItems, countProtobufItems } from './support/count-items.js';
import { queryEachSignal, TABLES } from './support/engine.js';
import { getJson } from './support/http.js';
import { mutate } from './support/mutate.js';
import { makeHistogramsBody, makeLogsBody, makeMetricsBody, makeTracesBody } from './support/otlp-bodies.js';
import { CONTENT_TYPES, type Encoding, type Item } from './support/otlp-client.js';
import { otlp } from './support/otlp-proto.js';
import { Pipeline, type PipelinedAnswer } from './support/pipeline.js';
import { rounds } from './support/rounds.js';
import { Random } from './support/seed.js';
import { makeDataDir, Server } from './support/server.js';

const BODIES = rounds(100_000);
const CONNECTIONS = 6;
const DEPTH = 12;
const MAX_INFLATED_BYTES = 256 * 1024;
const MIB = 1024 * 1024;

/** Stands in a seed body where a body's own token goes: 12 hex digits, so that no mutation makes another's. */
const PLACE = '@@@@@@@@@@@@';

interface SeedBody {
  signal: Signal;
  encoding: Encoding;
  bytes: Buffer;
  places: number[];
}

const HEX_FIELDS = new Set(['traceId', 'spanId', 'parentSpanId']);

/** A decoded request as OTLP/JSON: ids in hex. */
function toJson(value: unknown, key = ''): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString(HEX_FIELDS.has(key) ? 'hex' : 'base64');
  if (Array.isArray(value)) return value.map((member) => toJson(member, key));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value as Item).map(([name, member]) => [name, toJson(member, name)]),
  );
}

function makeSeeds(random: Random): SeedBody[] {
  const makers = {
    traces: [makeTracesBody],
    logs: [makeLogsBody],
    metrics: [makeMetricsBody, makeHistogramsBody],
  };
  const seeds: SeedBody[] = [];
  for (let round = 0; round < 4; round++) {
    for (const signal of SIGNALS) {
      for (const make of makers[signal]) {
        const options = {
          items: 2 + random.below(5),
          seed: random.below(2 ** 31),
          nowMs: Date.now(),
          marker: PLACE,
        };
        const protobuf = Buffer.from(make(options));
        const json = toJson(
          otlp[signal].toObject(otlp[signal].decode(protobuf), {
            longs: String,
            json: true,
            bytes: undefined,
          }),
        );
        for (const [encoding, bytes] of [
          ['protobuf', protobuf],
          ['json', Buffer.from(JSON.stringify(json))],
        ] as const) {
          const places: number[] = [];
          for (let at = bytes.indexOf(PLACE); at >= 0; at = bytes.indexOf(PLACE, at + 1)) places.push(at);
          assert.ok(places.length > 0);
          seeds.push({ signal, encoding, bytes, places });
        }
      }
    }
  }
  return seeds;
}

interface Sent {
  token: string;
  signal: Signal;
  status: number;
  /** Rows that must come of it. */
  rows: number;
}

const REJECTED_FIELD = { traces: 'rejectedSpans', logs: 'rejectedLogRecords', metrics: 'rejectedDataPoints' };
const RESPONSES = { traces: otlp.tracesResponse, logs: otlp.logsResponse, metrics: otlp.metricsResponse };

function rejectedItems(signal: Signal, encoding: Encoding, { body }: PipelinedAnswer): number {
  if (body.length <= 2) return 0;
  const message =
    encoding === 'json' ? (JSON.parse(body.toString()) as Item) : RESPONSES[signal].decode(body).toJSON();
  return Number((message.partialSuccess as Item)[REJECTED_FIELD[signal]] ?? 0);
}

describe(`${BODIES} mutated bodies`, { concurrency: false }, () => {
  const random = Random.announced('fuzz');
  const dataDir = makeDataDir();
  const sent: Sent[] = [];
  let server: Server;
  before(async () => {
    server = await Server.start(dataDir, {
      MAX_INFLATED_BYTES: String(MAX_INFLATED_BYTES),
      MEMORY_LIMIT: '4GiB',
    });
  });
  after(() => server.program.isRunning && server.kill());

  const seeds = makeSeeds(random);
  const bomb = gzipSync(Buffer.alloc(MAX_INFLATED_BYTES + 1));

  async function sendOne(pipeline: Pipeline, index: number): Promise<void> {
    const { signal, encoding, bytes, places } = random.pick(seeds);
    const token = `${index.toString(16).padStart(5, '0')}${random
      .below(2 ** 28)
      .toString(16)
      .padStart(7, '0')}`;
    const whole = Buffer.from(bytes);
    for (const at of places) whole.write(token, at, 'latin1');
    const body = random.below(10) === 0 ? whole : mutate(whole, encoding, random);
    let head = `POST /v1/${signal} HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${CONTENT_TYPES[encoding]}\r\n`;
    let payload: Buffer = body;
    const special = random.below(400);
    if (special < 40) {
      head += 'Content-Encoding: gzip\r\n';
      payload = special === 0 ? bomb : gzipSync(body, { level: 1 });
      if (special < 5 && special > 0) payload = mutate(payload, 'protobuf', random);
    } else if (special === 41) head += 'Content-Encoding: zstd\r\n';
    const answer = await pipeline.send(head, payload);
    const about = `${token} ${signal} ${encoding}: ${answer.status} ${answer.body.toString('latin1')}`;
    assert.ok([200, 400, 413, 415].includes(answer.status), about);
    let rows = 0;
    if (answer.status === 200) {
      // Damage to what gzip does not check, such as its time stamp, is no damage.
      if (special > 0 && special < 5)
        assert.ok(gunzipSync(payload).equals(body), `damaged gzip was taken: ${about}`);
      const items = encoding === 'json' ? countJsonItems(signal, body) : countProtobufItems(signal, body);
      rows = items - rejectedItems(signal, encoding, answer);
      assert.ok(rows >= 0, `more rejected than sent: ${about}`);
    } else {
      assert.ok(body !== whole || special < 5 || special === 41, `a good body was refused: ${about}`);
    }
    sent.push({ token, signal, status: answer.status, rows });
  }

  it('are each taken or refused with a status that says so', async () => {
    const startedAt = performance.now();
    let next = 0;
    let slowestMs = 0;
    let isOver = false;
    const probe = setInterval(async () => {
      const askedAt = performance.now();
      await getJson(`${server.api}/health/live`);
      slowestMs = Math.max(slowestMs, performance.now() - askedAt);
    }, 250);
    try {
      const connections = Array.from({ length: CONNECTIONS }, async () => {
        const pipeline = new Pipeline(server.otlp);
        const lane = async () => {
          while (next < BODIES && !isOver) await sendOne(pipeline, next++);
        };
        await Promise.all(Array.from({ length: DEPTH }, lane));
        pipeline.close();
      });
      await Promise.all(connections);
    } finally {
      isOver = true;
      clearInterval(probe);
    }
    const seconds = (performance.now() - startedAt) / 1000;
    const byStatus = [200, 400, 413, 415].map(
      (status) => `${sent.filter((one) => one.status === status).length} × ${status}`,
    );
    console.log(
      `# fuzz: ${sent.length} bodies in ${seconds.toFixed(1)} s, ${byStatus.join(', ')}, /health/live at most ${slowestMs.toFixed()} ms`,
    );
    assert.equal(sent.length, BODIES);
    assert.ok(slowestMs < 5000);
  });

  it('harm nothing', async () => {
    assert.equal((await getJson(`${server.api}/health/ready`)).status, 200);
    await server.drained(120_000);
    assert.doesNotMatch(server.program.stderr, /"level":(50|60)/);
    const residentMiB = server.residentBytes / MIB;
    console.log(`# fuzz: ${residentMiB.toFixed()} MiB resident`);
    assert.ok(residentMiB < 3000, `${residentMiB} MiB`);
    await server.stop();
  });

  it('leave in the store exactly the items that were accepted, and none of a refused body', async () => {
    const answers = await queryEachSignal<{ token: string; rows: number }>(
      dataDir,
      (signal) =>
        `SELECT substringIndex(attributes['test.marker'], '-', 1) AS token, count() AS rows FROM ${TABLES[signal]} GROUP BY token`,
    );
    for (const [signal, stored] of answers) {
      const bodies = new Map(sent.filter((one) => one.signal === signal).map((one) => [one.token, one]));
      let total = 0;
      for (const { token, rows } of stored) {
        total += rows;
        const body = bodies.get(token);
        // A mutation may have hit the marker itself; such rows count in the total alone.
        if (body) assert.ok(rows <= body.rows, `${signal} ${token}: ${rows} rows of ${JSON.stringify(body)}`);
      }
      const accepted = [...bodies.values()].reduce((sum, one) => sum + one.rows, 0);
      assert.equal(total, accepted, `${signal}: rows stored, items accepted`);
      assert.ok(accepted > 1000);
    }
  });
});
