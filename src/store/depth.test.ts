import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { TENANT_A, TelemetryStore } from '../../test/support/telemetry-store.js';
import { searchLogs } from './logs.js';
import type { Page, PageRequest } from './page.js';
import { searchTraces } from './traces.js';

const ROWS = 400_000;
const END_NS = 1_750_000_000_000_000_000n;
/** Ten rows a second, and most of a month without any before. */
const RANGE = { fromNs: END_NS - 30n * 86_400_000_000_000n, toNs: END_NS };
const LOGS = { terms: [], services: [], severities: [], attributes: [] };
const TRACES = { services: [], operations: [], kinds: [], statuses: [], attributes: [] };
const LIMIT = 10;
const DEEP_PAGE = 1000;

describe('A page at any depth', () => {
  let store: TelemetryStore;
  before(async () => {
    store = await TelemetryStore.open();
    const timed = `fromUnixTimestamp64Nano(toInt64(${END_NS}) - 1 - number * 100000000)`;
    await store.insertSelect(
      'telemetry_logs',
      'organization_id, workspace_id, tenant_id, timestamp, service_name, body',
      `SELECT 'org', 'ws', 'a', ${timed}, concat('s', toString(number % 5)), toString(number) FROM numbers(${ROWS})`,
    );
    await store.insertSelect(
      'telemetry_traces',
      'organization_id, workspace_id, tenant_id, timestamp, trace_id, span_id, duration_nano, service_name',
      `SELECT 'org', 'ws', 'a', ${timed}, toFixedString(unhex(leftPad(hex(intDiv(number, 4) + 1), 32, '0')), 16),
       toFixedString(unhex(leftPad(hex(number + 1), 16, '0')), 8), number, 's' FROM numbers(${ROWS})`,
    );
  });
  after(() => store.close());

  /** The second page, and the thousandth: its cursor comes from longer pages, as a cursor does not depend on their length. */
  async function twoPages<T>(search: (request: PageRequest) => Promise<Page<T>>) {
    const first = await search({ page: 1, limit: LIMIT });
    const second = await search({ page: 1, limit: LIMIT, cursor: first.next_cursor! });
    let cursor: string | undefined;
    for (let passed = 0; passed < LIMIT * (DEEP_PAGE - 1); ) {
      const limit = Math.min(999, LIMIT * (DEEP_PAGE - 1) - passed);
      const page = await search({ page: 1, limit, cursor });
      passed += page.data.length;
      cursor = page.next_cursor!;
    }
    return { second, deep: await search({ page: 1, limit: LIMIT, cursor }) };
  }

  it('costs the same: logs', async () => {
    const search = (request: PageRequest) =>
      searchLogs(TENANT_A, store.clickhouse, { ...LOGS, order: 'desc' }, RANGE, request);
    const { second, deep } = await twoPages(search);
    assert.deepEqual(
      deep.data.map(({ body }) => body),
      Array.from({ length: LIMIT }, (_, n) => String(LIMIT * (DEEP_PAGE - 1) + n)),
    );
    console.log(
      `# rows read by page 2 of logs: ${second.meta.rows_read}, by page ${DEEP_PAGE}: ${deep.meta.rows_read}`,
    );
    assert.ok(
      deep.meta.rows_read <= 2 * second.meta.rows_read,
      `${deep.meta.rows_read}, ${second.meta.rows_read}`,
    );
    assert.ok(deep.meta.rows_read < ROWS / 8, String(deep.meta.rows_read));
  });

  it('costs the same: traces, the newest first', async () => {
    const search = (request: PageRequest) =>
      searchTraces(TENANT_A, store.clickhouse, { ...TRACES, order: 'recent' }, RANGE, request);
    const { second, deep } = await twoPages(search);
    const hex = (n: number) => n.toString(16).padStart(32, '0');
    assert.deepEqual(
      deep.data.map(({ trace_id }) => trace_id),
      Array.from({ length: LIMIT }, (_, n) => hex(LIMIT * (DEEP_PAGE - 1) + n + 1)),
    );
    console.log(
      `# rows read by page 2 of traces: ${second.meta.rows_read}, by page ${DEEP_PAGE}: ${deep.meta.rows_read}`,
    );
    // Spans within an hour on both sides are looked at, of which the second page has one side.
    assert.ok(
      deep.meta.rows_read <= 3 * second.meta.rows_read,
      `${deep.meta.rows_read}, ${second.meta.rows_read}`,
    );
    assert.ok(deep.meta.rows_read < ROWS / 2, String(deep.meta.rows_read));
  });

  it('finds the one match at the far end of the range, and says how much it read', async () => {
    // A part of a word, which no index finds.
    const terms = [{ text: `*${ROWS - 1}*`, negated: false }];
    const question = { ...LOGS, terms, order: 'desc' as const };
    const { data, meta } = await searchLogs(TENANT_A, store.clickhouse, question, RANGE, {
      page: 1,
      limit: LIMIT,
    });
    assert.deepEqual(
      data.map(({ body }) => body),
      [String(ROWS - 1)],
    );
    assert.ok(meta.rows_read >= ROWS);
  });

  it('is given in part when a limit is hit on the way, with where to go on', async () => {
    const strict = Object.assign(Object.create(store.clickhouse) as typeof store.clickhouse, {
      limits: { ...store.clickhouse.limits, maxRows: ROWS / 4 },
    });
    // In the first windows there are some; in all of them together there are too many rows to look through.
    const terms = [{ text: '*7777*', negated: false }];
    const ask = (clickhouse: typeof strict, cursor?: string) =>
      searchLogs(TENANT_A, clickhouse, { ...LOGS, terms, order: 'desc' }, RANGE, {
        page: 1,
        limit: 1000,
        cursor,
      });
    const { data, meta, next_cursor } = await ask(strict);
    assert.ok(data.length > 0);
    assert.equal(meta.partial, true);
    assert.match(meta.partial_reason!, /too many rows.*Not searched: 20/);
    const rest = await ask(store.clickhouse, next_cursor!);
    const whole = await ask(store.clickhouse);
    assert.equal(whole.meta.partial, undefined);
    assert.deepEqual([...data, ...rest.data], whole.data);
  });
});
