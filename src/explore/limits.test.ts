import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ClickHouseHttp } from '../../test/support/clickhouse-http.js';
import { ExploreApp } from '../../test/support/explore-app.js';
import { TelemetryStore } from '../../test/support/telemetry-store.js';
import { until } from '../../test/support/until.js';
import { ClickHouse } from '../connections/clickhouse.js';

const ROWS = 40_000;
/** Each term is looked for in every byte of every body: some seconds of work. */
const slow = (terms: number, limit = 7) => {
  const q = Array.from({ length: terms }, (_, n) => `-"\u00e9${n}"`).join(' ');
  return `/logs?${new URLSearchParams({ q, limit: String(limit) })}`;
};

async function fill(store: TelemetryStore): Promise<void> {
  const columns = 'organization_id, workspace_id, tenant_id, timestamp, service_name, body, body_type';
  await store.insertSelect(
    'telemetry_logs',
    columns,
    `SELECT 'org', 'ws', 'a', now64(9) - toIntervalMillisecond(number % 600000), 'shop',
     concat(toString(number), repeat('\u00e8 abcdefghi', 400)), 's' FROM numbers(${ROWS})`,
  );
}

/** The engine's own list of what it is doing. */
async function questionsRunning({ clickhouse }: TelemetryStore): Promise<number> {
  const query = `SELECT count() AS n FROM system.processes
    WHERE query LIKE '%telemetry_logs%' AND query NOT LIKE '%system.processes%'`;
  return Number((await clickhouse.read<{ n: string }>(query)).rows[0].n);
}

function cancelling(name: string, open: () => Promise<TelemetryStore>): void {
  describe(`A caller that hangs up, ${name}`, () => {
    let store: TelemetryStore;
    let explore: ExploreApp;
    before(async () => {
      store = await open();
      await fill(store);
      explore = await ExploreApp.start(store.clickhouse);
    });
    after(async () => {
      await explore.close();
      await store.close();
    });

    it('ends its statement in the engine', async () => {
      const base = await explore.listen();
      const controller = new AbortController();
      const asked = fetch(base + slow(20), { signal: controller.signal });
      const gone = assert.rejects(asked, /abort/i);
      const isBusy = () => store.clickhouse.stats().reads?.busy === 1;
      await until('the question is being answered', async () =>
        name === 'embedded' ? isBusy() : (await questionsRunning(store)) > 0,
      );
      controller.abort();
      await gone;
      await until('nothing of it runs any more', async () => (await questionsRunning(store)) === 0);
      assert.equal((await explore.get('/logs?limit=1')).status, 200);
    });
  });
}

const folder = mkdtempSync(join(tmpdir(), 'tf-limits-'));
const server = await ClickHouseHttp.start(folder);
after(async () => {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

cancelling('embedded', () => TelemetryStore.open());
cancelling('over HTTP', () =>
  TelemetryStore.open({ CLICKHOUSE_URL: server.url, CLICKHOUSE_DATABASE: 'cancelling' }),
);

describe('A question that is too big', () => {
  let store: TelemetryStore;
  before(async () => {
    store = await TelemetryStore.open();
    await fill(store);
  });
  after(() => store.close());

  /** The query API over the same store with other limits. */
  async function limited(limits: Partial<ClickHouse['limits']>): Promise<ExploreApp> {
    const { clickhouse } = store;
    const strict = Object.assign(Object.create(clickhouse) as ClickHouse, {
      limits: { ...clickhouse.limits, ...limits },
    });
    return ExploreApp.start(strict);
  }

  it('is refused with the limit that it hit and what to narrow, not answered with less', async () => {
    const grouping = '/services';
    const cases = [
      [{ maxRows: 1000 }, grouping, /too many rows/],
      [{ maxMemoryBytes: 200_000 }, slow(20), /too much memory/],
      [{ maxSeconds: 0.01 }, slow(20), /took too long|take too long/],
    ] as const;
    for (const [limits, path, reason] of cases) {
      const explore = await limited(limits);
      const { status, body } = await explore.get(path);
      assert.deepEqual([status, body.code], [422, 'QUERY_TOO_EXPENSIVE'], JSON.stringify(body));
      assert.match(body.message, reason);
      assert.match(body.message, /Narrow the time range \(from, to\)/);
      await explore.close();
    }
  });

  it('leaves sessions to other tenants', async () => {
    const explore = await limited({});
    const many = Array.from({ length: 6 }, (_, n) => explore.get(slow(1, n + 1)));
    await until('some are being answered', () => store.clickhouse.stats().reads!.busy > 0);
    const { size, busy, waiting } = store.clickhouse.stats().reads!;
    assert.ok(busy <= Math.min(2, size) && waiting <= 1, `${busy} of ${size} busy, ${waiting} wait`);
    assert.equal((await explore.get('/logs', 'b')).status, 200);
    for (const { status } of await Promise.all(many)) assert.equal(status, 200);
    await explore.close();
  });
});
