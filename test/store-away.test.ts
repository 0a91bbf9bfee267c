import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server as HttpServer } from 'node:http';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { SIGNALS, type Signal } from '../src/signal.js';
import { ClickHouseHttp } from './support/clickhouse-http.js';
import { getJson } from './support/http.js';
import { ITEMS, requestOf } from './support/items.js';
import { encode, sendOtlp } from './support/otlp-client.js';
import { makeDataDir, Server } from './support/server.js';

const AWAY_MS = 10_000;
/** Between requests of one signal while the store is away: far more of them than attempts. */
const PAUSE_MS = 25;
const FIRST_BACKOFF_MS = 1000;
/** Of each signal the one that was tried again, what had come meanwhile, and one more. */
const MOST_BATCHES = 3 * SIGNALS.length;
const MAX_DRAIN_MS = 60_000;

/** An INSERT that reached the store's address. */
interface Attempt {
  table: string;
  token: string;
}

/** Stands at the address of a ClickHouse that is away, as a proxy does: refuses everything, and notes the inserts. */
class AwayStore {
  readonly attempts: Attempt[] = [];
  private readonly server: HttpServer;

  constructor(private readonly port: number) {
    this.server = createServer((request, response) => {
      const { searchParams } = new URL(request.url ?? '/', 'http://localhost');
      const table = /INSERT INTO\s+\S*?(telemetry_(?:logs|traces|metrics))\b/i.exec(
        searchParams.get('query') ?? '',
      )?.[1];
      const token = searchParams.get('insert_deduplication_token') ?? '';
      if (table) this.attempts.push({ table, token });
      request.resume().once('end', () => response.writeHead(503).end('<html>Service Unavailable</html>'));
    });
  }

  async open(): Promise<void> {
    this.server.listen(this.port, '127.0.0.1');
    await once(this.server, 'listening');
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }
}

describe('A ClickHouse that is away while telemetry comes in', () => {
  const folder = makeDataDir();
  let clickhouse: ClickHouseHttp;
  let server: Server;
  after(async () => {
    await server.kill();
    await clickhouse.stop();
  });

  const ask = async (sql: string) => {
    const answer = await fetch(`${clickhouse.url}/?database=telemetryflow`, { method: 'POST', body: sql });
    const text = await answer.text();
    assert.equal(answer.status, 200, text);
    return text.trim();
  };
  const send = async (signal: Signal, marker: string) => {
    const body = encode(signal, 'protobuf', requestOf(signal, [ITEMS[signal](marker)]));
    assert.equal((await sendOtlp(server.otlp, signal, 'protobuf', body)).status, 200);
  };

  const batchesDone = async () => {
    const { body } = await getJson(`${server.api}/api/v1/queues/otlp-ingestion`, server.key);
    return (body as { completed: number }).completed;
  };

  it('is asked again for one batch of each signal, less and less often, and gets all of the rest in few afterwards', async () => {
    clickhouse = await ClickHouseHttp.start(join(folder, 'store'));
    server = await Server.start(join(folder, 'server'), { CLICKHOUSE_URL: clickhouse.url });
    for (const signal of SIGNALS) await send(signal, 'before');
    await server.drained();
    const batchesBefore = await batchesDone();
    await clickhouse.stop();
    const away = new AwayStore(clickhouse.port);
    await away.open();

    const startedAt = performance.now();
    const sent = { traces: 1, logs: 1, metrics: 1 };
    const senders = SIGNALS.map(async (signal) => {
      for (; performance.now() - startedAt < AWAY_MS; await sleep(PAUSE_MS))
        await send(signal, `away-${sent[signal]++}`);
    });
    await Promise.all(senders);
    const awaySeconds = (performance.now() - startedAt) / 1000;
    const { waitingEntries } = await server.queue();
    const { attempts } = away;
    await away.close();
    await clickhouse.start();

    const total = SIGNALS.reduce((sum, signal) => sum + sent[signal], 0);
    assert.equal(waitingEntries, total - SIGNALS.length, 'everything waits');
    // At 0, 1, 3, 7, ... seconds: each pause is twice the one before, and nothing can make it shorter.
    const mostAttempts = 1 + Math.ceil(Math.log2(1 + (awaySeconds * 1000) / FIRST_BACKOFF_MS));
    for (const signal of SIGNALS) {
      const tokens = attempts.filter(({ table }) => table.endsWith(signal)).map(({ token }) => token);
      const about = `${signal}: ${tokens.length} attempts in ${awaySeconds.toFixed(1)} s`;
      assert.ok(tokens.length >= 2 && tokens.length <= mostAttempts, about);
      assert.equal(new Set(tokens).size, 1, `${about}, of one batch`);
      console.log(`# store-away: ${about}, ${sent[signal]} requests`);
    }

    await server.drained(MAX_DRAIN_MS);
    const batches = (await batchesDone()) - batchesBefore;
    assert.ok(batches <= MOST_BATCHES, `${total} requests went in ${batches} batches`);
    for (const signal of SIGNALS) {
      assert.equal(
        Number(await ask(`SELECT count() FROM telemetry_${signal}`)),
        sent[signal],
        `${signal}: once each`,
      );
    }
  });
});
