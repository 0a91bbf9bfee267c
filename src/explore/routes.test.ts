import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { z } from 'zod';
import { ExploreApp } from '../../test/support/explore-app.js';
import { at, attributes, id, str, TENANT_A, TelemetryStore } from '../../test/support/telemetry-store.js';
import { nanosToIso } from '../store/values.js';
import { stepBegin } from '../store/windows.js';
import * as answers from './answers.schema.js';
import { operation, redSeries, serviceMap } from './services.schema.js';

const NOW_MS = Date.now();
const NOW_NS = BigInt(NOW_MS) * 1_000_000n;
const MINUTE_NS = 60_000_000_000n;
const TRACE = '0af7651916cd43dd8448eb211c80319c';

let store: TelemetryStore;
let explore: ExploreApp;
const get: ExploreApp['get'] = (...asked) => explore.get(...asked);

type Body = Awaited<ReturnType<ExploreApp['get']>>['body'];

const withExplain = (path: string) => `${path}${path.includes('?') ? '&' : '?'}explain=1`;

async function fill(): Promise<void> {
  const common = {
    timestamp: at(NOW_NS - MINUTE_NS),
    service_name: str('shop'),
    ...attributes({ 'http.route': '/a b' }),
  };
  await store.insert('telemetry_logs', TENANT_A, [
    { ...common, body: str('payment failed'), body_type: str('s'), severity_number: '17' },
    { ...common, body: str('payment ok'), body_type: str('s'), severity_number: '9' },
    {
      ...common,
      body: str('two hours ago'),
      body_type: str('s'),
      severity_number: '9',
      timestamp: at(NOW_NS - 120n * MINUTE_NS),
    },
  ]);
  await store.insert('telemetry_traces', TENANT_A, [
    {
      ...common,
      trace_id: id(TRACE),
      span_id: id('b7ad6b7169203331'),
      span_name: str('GET /'),
      duration_nano: '1500000',
    },
  ]);
  await store.insert('telemetry_metrics', TENANT_A, [
    {
      ...common,
      metric_name: str('cpu'),
      metric_type: str('gauge'),
      value: '0.5',
      value_type: str('double'),
    },
  ]);
}

before(async () => {
  store = await TelemetryStore.open();
  await fill();
  explore = await ExploreApp.start(store.clickhouse);
});
after(async () => {
  await explore.close();
  await store.close();
});

describe('The query API', () => {
  it('answers about the last hour unless it is told', async () => {
    const { status, body } = await get('/logs');
    assert.equal(status, 200);
    assert.equal(body.data.length, 2);
    assert.deepEqual([body.page, body.limit, body.total_pages, body.next_cursor], [1, 100, 1, null]);
    assert.deepEqual(Object.keys(body.meta), ['source', 'cache', 'rows_read', 'bytes_read', 'elapsed_ms']);
    assert.equal((await get('/logs?from=now-3h')).body.data.length, 3);
  });

  it('says where an answer came from, and what this request cost', async () => {
    const [first, second] = [(await get('/logs?limit=7')).body, (await get('/logs?limit=7')).body];
    assert.equal(first.meta.cache, 'miss');
    assert.ok(first.meta.rows_read > 0);
    assert.ok(second.meta.age_ms >= 0 && second.meta.age_ms < 60_000, `${second.meta.age_ms}`);
    assert.deepEqual(
      { ...second.meta, elapsed_ms: 0, age_ms: 0 },
      { source: 'raw', cache: 'L1', rows_read: 0, bytes_read: 0, elapsed_ms: 0, age_ms: 0 },
    );
    assert.deepEqual(second.data, first.data);
    for (const other of [
      '/logs?limit=8',
      '/logs?limit=7&page=2',
      '/logs?limit=7&from=now-61m',
      '/logs?limit=7&service=x',
    ])
      assert.equal((await get(other)).body.meta.cache, 'miss', other);
    assert.deepEqual((await get('/logs?limit=7', 'b')).body.data, []);
  });

  it('searches logs', async () => {
    const found = async (query: string) =>
      (await get(`/logs?${query}`)).body.data.map(({ body }: { body: string }) => body);
    assert.deepEqual(await found('q=PAYMENT%20-ok&min_severity=error&service=shop,other'), [
      'payment failed',
    ]);
    assert.deepEqual(await found(`attr.http.route=${encodeURIComponent('/a b')}&severity=info`), [
      'payment ok',
    ]);
    assert.deepEqual(await found(`attr.http.route=${encodeURIComponent(`' OR 1=1 --`)}`), []);
    assert.deepEqual(await found(`trace_id=${TRACE}`), []);
  });

  it('pages by cursor', async () => {
    const first = (await get('/logs?limit=1')).body;
    assert.equal(first.total_pages, 2);
    const second = (await get(`/logs?limit=1&cursor=${first.next_cursor}`)).body;
    assert.deepEqual([second.page, second.next_cursor], [2, null]);
    assert.notEqual(first.data[0].body, second.data[0].body);
  });

  it('lists services and metric names, and answers about metrics', async () => {
    assert.equal((await get('/services')).body.data[0].service_name, 'shop');
    assert.equal((await get('/metrics?prefix=c&service=shop')).body.data[0].metric_name, 'cpu');
    const { body } = await get(
      '/metrics/query?metric=cpu&step=1h&group_by=http.route&filter.http.route=/a%20b',
    );
    assert.deepEqual(
      [body.metric, body.agg, body.step, body.source, body.meta.source],
      ['cpu', 'avg', 3600, 'raw', 'raw'],
    );
    assert.deepEqual(body.series[0].labels, { 'http.route': '/a b' });
    assert.equal(body.series[0].points[0][1], 0.5);
    assert.equal((await get('/metrics/points?metric=cpu&filter.http.route=/a%20b')).body.data[0].value, 0.5);
    assert.equal((await get('/metrics/query?metric=cpu')).body.step, 15);
  });

  it('finds traces and reads one', async () => {
    const { body } = await get('/traces?min_duration_ms=1.5&status=unset&operation=GET%20/');
    assert.deepEqual(
      body.data.map((trace: { trace_id: string }) => trace.trace_id),
      [TRACE],
    );
    const trace = await get(`/traces/${TRACE.toUpperCase()}`);
    assert.equal(trace.status, 200);
    assert.deepEqual([trace.body.trace_id, trace.body.duration_ms, trace.body.spans.length], [TRACE, 1.5, 1]);
    assert.equal((await get(`/traces/${TRACE}?from=now-3h&to=now-2h`)).status, 404);
  });

  it('answers as it is described, without a field more', async () => {
    const described = async (path: string, schema: z.ZodType, of: (body: Body) => unknown) => {
      const answer = of((await get(path)).body);
      assert.deepEqual(schema.parse(answer), answer, path);
    };
    const first = (body: Body) => body.data[0];
    await described('/services', answers.service, first);
    await described('/metrics', answers.metricName, first);
    await described('/metrics/points', answers.metricPoint, first);
    await described('/metrics/query?metric=cpu', answers.seriesAnswer, (body) => body);
    await described('/metrics/query?metric=absent', answers.seriesAnswer, (body) => body);
    await described('/logs', answers.logRecord, first);
    await described('/traces', answers.traceSummary, first);
    await described(`/traces/${TRACE}`, answers.trace, (body) => body);
    await described('/operations', operation, first);
    await described('/operations/series?service=shop', redSeries, (body) => body);
    await described('/service-map', serviceMap, (body) => body);
  });

  it('explains itself to an admin: the statements with values apart, and how indexes were used', async () => {
    const asked = '/logs?limit=9&service=shop&explain=1';
    const { status, body } = await get(asked, 'a', true);
    assert.equal(status, 200);
    assert.equal(body.meta.cache, 'miss');
    const [{ statement, parameters, rows_read, indexes }] = body.meta.explain;
    assert.match(statement, /WHERE organization_id = \{p0:String\} AND workspace_id = \{p1:String\}/);
    assert.ok(!statement.includes('shop'), 'no value in the text');
    assert.deepEqual([parameters.p0, parameters.p2], ['org', 'a']);
    assert.ok(rows_read > 0);
    assert.match(indexes.join('\n'), /PrimaryKey[\s\S]*Granules: \d+\/\d+/);
    assert.equal((await get(asked, 'a', true)).body.meta.cache, 'miss', 'never from the cache');
    assert.equal((await get('/logs?limit=9&service=shop')).body.meta.explain, undefined, 'nor into it');
    const described = answers.trace.safeParse((await get(`/traces/${TRACE}?explain=1`, 'a', true)).body);
    assert.equal(described.error, undefined);
    for (const path of [
      '/services',
      '/metrics',
      '/metrics/query?metric=cpu',
      '/metrics/points',
      '/traces',
      '/operations',
      '/operations/series',
      '/service-map',
    ])
      assert.ok((await get(withExplain(path), 'a', true)).body.meta.explain.length > 0, path);
  });

  it('explains itself to nobody else', async () => {
    const { status, body } = await get('/logs?explain=1');
    assert.deepEqual([status, body.code], [403, 'PERMISSION_DENIED']);
    assert.equal((await get('/logs?explain=0')).status, 200);
    assert.equal((await get('/logs?explain=yes', 'a', true)).status, 400);
  });

  it('shows another tenant nothing, not even that it is there', async () => {
    for (const path of ['/services', '/metrics', '/metrics/points', '/logs?from=now-3h', '/traces']) {
      const { status, body } = await get(path, 'b');
      assert.deepEqual([status, body.data], [200, []], path);
    }
    assert.deepEqual((await get('/metrics/query?metric=cpu', 'b')).body.series, []);
    const hidden = await get(`/traces/${TRACE}`, 'b');
    const absent = await get(`/traces/${'1'.repeat(32)}`, 'b');
    assert.deepEqual([hidden.status, absent.status], [404, 404]);
    assert.equal(hidden.body.code, absent.body.code);
  });

  it('refuses what it does not understand with 400 and what is allowed', async () => {
    const wrong = [
      ['/logs?limit=0', 'limit'],
      ['/logs?serivce=x', 'serivce'],
      ['/logs?from=now&to=now-1h', 'from'],
      ['/logs?page=1001&limit=100', 'page'],
      ['/logs?cursor=abc', 'cursor'],
      ['/logs?limit=1&limit=2', 'limit'],
      ['/traces?kind=nobody', 'kind'],
      ['/traces/xyz', 'trace_id'],
      [`/traces/${'g'.repeat(32)}`, 'trace_id'],
      ['/metrics/query', 'metric'],
      ['/metrics/query?metric=cpu&agg=median', 'agg'],
      ['/metrics/query?metric=cpu&agg=rate', 'agg'],
      ['/metrics/query?metric=cpu&step=1s&from=now-1w', 'step'],
      ['/services?__proto__=1', '__proto__'],
    ];
    for (const [path, field] of wrong) {
      const { status, body } = await get(path);
      assert.deepEqual([status, body.code, body.details?.[0]?.field], [400, 'INVALID_ARGUMENT', field], path);
      assert.ok(body.details[0].allowed, path);
    }
  });

  it('answers for services from full five minutes on when the begin is relative, and from the nanosecond when it is not', async () => {
    const begin = () => stepBegin(BigInt(Date.now()) * 1_000_000n - 60n * MINUTE_NS);
    let [stepNs, seen] = [0n, ''];
    // Again, should five minutes be over amid it.
    while (begin() !== stepNs) {
      stepNs = begin();
      const record = { timestamp: at(stepNs), service_name: str(`of ${stepNs}`), body: str('x') };
      await store.insert('telemetry_logs', TENANT_A, [record]);
      seen = JSON.stringify((await get('/services?from=now-1h')).body.data);
    }
    assert.match(seen, new RegExp(`"of ${stepNs}"`));
    const after = nanosToIso(String(stepNs + 1n));
    const { body } = await get(`/services?from=${after}`);
    assert.doesNotMatch(JSON.stringify(body.data), new RegExp(`"of ${stepNs}"`));
    assert.match(JSON.stringify(body.data), /"shop"/);
  });
});
