import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  at,
  id,
  type SqlRow,
  str,
  TENANT_A,
  TENANT_B,
  TelemetryStore,
} from '../../test/support/telemetry-store.js';
import { followOperations, listOperations, OPERATION_ORDERS, type Operation } from './operations.js';

const NOW_NS = 1_750_000_000_000_000_000n;
const MS = 1_000_000n;
const RANGE = { fromNs: NOW_NS - 600_000n * MS, toNs: NOW_NS };
const EVERYTHING = { services: [], operations: [], kinds: [] };
const PARENT = { parent_span_id: id('00000000000000ff') };

const span = (agoMs: number, service: string, operation: string, ms: number, more: SqlRow = {}): SqlRow => ({
  timestamp: at(NOW_NS - BigInt(agoMs) * MS),
  service_name: str(service),
  span_name: str(operation),
  span_kind: str('SERVER'),
  duration_nano: String(BigInt(ms) * MS),
  status_code: str('UNSET'),
  parent_span_id: `toFixedString('', 8)`,
  ...more,
});

describe('Rate, errors and duration', () => {
  let store: TelemetryStore;
  before(async () => {
    store = await TelemetryStore.open();
    const failed = { status_code: str('ERROR') };
    await store.insert('telemetry_traces', TENANT_A, [
      ...Array.from({ length: 99 }, (_, n) => span(1000 + n, 'shop', 'GET /', n + 1)),
      span(300_000, 'shop', 'GET /', 100, failed),
      span(1000, 'shop', 'buy', 1000, { ...failed, ...PARENT }),
      span(1000, 'shop', 'buy', 1000, PARENT),
      span(1000, 'shop', 'look up', 1, { span_kind: str('INTERNAL'), ...PARENT }),
      span(1000, 'shop', 'query', 7, { span_kind: str('CLIENT'), ...PARENT }),
      span(1000, 'mail', 'take', 5, { span_kind: str('CONSUMER'), ...PARENT }),
      span(1000, 'cron', 'nightly', 9, { span_kind: str('INTERNAL') }),
      span(900_000, 'old', 'before', 1),
    ]);
    await store.insert('telemetry_traces', TENANT_B, [span(1000, 'theirs', 'GET /', 1)]);
  });
  after(() => store.close());

  const list = (
    asked: Partial<Parameters<typeof listOperations>[2]> = {},
    page = { page: 1, limit: 100 } as Parameters<typeof listOperations>[4],
    scope = TENANT_A,
  ) =>
    listOperations(
      scope,
      store.clickhouse,
      { ...EVERYTHING, by: 'operation', order: 'calls', ...asked },
      RANGE,
      page,
    );
  const namesOf = ({ data }: { data: Operation[] }) =>
    data.map((row) => `${row.service_name} ${row.operation}`);
  const isNear = (given: number, wanted: number) =>
    assert.ok(Math.abs(given / wanted - 1) <= 0.02, `${given}, not ${wanted}`);

  it('are told of each operation that is called from outside', async () => {
    const answer = await list();
    assert.deepEqual(namesOf(answer), ['shop GET /', 'shop buy', 'cron nightly', 'mail take']);
    const [{ p50_ms, p95_ms, p99_ms, ...row }] = answer.data;
    assert.deepEqual(row, {
      service_name: 'shop',
      operation: 'GET /',
      calls: 100,
      rate: 100 / 600,
      errors: 1,
      error_rate: 0.01,
      total_ms: 5050,
    });
    isNear(p50_ms, 50);
    isNear(p95_ms, 95);
    isNear(p99_ms, 99);
    assert.equal(answer.total_pages, 1);
  });

  it('are told of other kinds, of some services or one operation, and of services as a whole', async () => {
    assert.deepEqual(namesOf(await list({ kinds: ['CLIENT', 'INTERNAL'] })), [
      'cron nightly',
      'shop look up',
      'shop query',
    ]);
    assert.deepEqual(namesOf(await list({ services: ['mail', 'cron'] })), ['cron nightly', 'mail take']);
    assert.deepEqual(namesOf(await list({ operations: ['buy'] })), ['shop buy']);
    const services = await list({ by: 'service', services: ['shop'] });
    assert.deepEqual(
      services.data.map(({ calls, errors, operation }) => [calls, errors, operation]),
      [[102, 2, '']],
    );
  });

  it('come in every order, and page by page the same', async () => {
    const first = {
      calls: 'shop GET /',
      errors: 'shop GET /',
      p95: 'shop buy',
      total: 'shop GET /',
      name: 'cron nightly',
    };
    for (const order of OPERATION_ORDERS) {
      const whole = namesOf(await list({ order }));
      assert.equal(whole[0], first[order], order);
      const paged: string[] = [];
      let cursor: string | undefined;
      do {
        const answer = await list({ order }, { page: 1, limit: 1, cursor });
        assert.equal(answer.total_pages, 4, order);
        paged.push(...namesOf(answer));
        cursor = answer.next_cursor ?? undefined;
      } while (cursor);
      assert.deepEqual(paged, whole, order);
      assert.deepEqual(namesOf(await list({ order }, { page: 3, limit: 1 })), [whole[2]]);
    }
  });

  it('are followed over time, per second of the part of a step that lies within the range', async () => {
    const follow = (stepMs: number) =>
      followOperations(TENANT_A, store.clickhouse, { ...EVERYTHING, operations: ['GET /'], stepMs }, RANGE);
    const { points, step } = await follow(60_000);
    assert.equal(step, 60);
    assert.deepEqual(
      points.map(({ calls, errors }) => [calls, errors]),
      [
        [1, 1],
        [99, 0],
      ],
    );
    assert.equal(points[1].time_ms % 60_000, 0);
    const [{ rate, calls, p50_ms }] = (await follow(86_400_000)).points;
    assert.deepEqual([rate, calls], [100 / 600, 100]);
    isNear(p50_ms, 50);
  });

  it('are those of the tenant alone', async () => {
    assert.deepEqual(namesOf(await list({}, undefined, TENANT_B)), ['theirs GET /']);
  });
});
