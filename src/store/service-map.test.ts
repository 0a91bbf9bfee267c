import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  at,
  attributes,
  id,
  type SqlRow,
  str,
  TENANT_A,
  TENANT_B,
  TelemetryStore,
} from '../../test/support/telemetry-store.js';
import { readServiceMap, type ServiceEdge } from './service-map.js';

const NOW_NS = 1_750_000_000_000_000_000n;
const MINUTE_NS = 60_000_000_000n;
const MS = 1_000_000n;
const HOUR = { fromNs: NOW_NS - 60n * MINUTE_NS, toNs: NOW_NS };

/** Numbers to ids: span 5 of trace 1. */
const traceId = (trace: number) => id(String(trace).padStart(32, '0'));
const spanId = (span: number) => id(String(span).padStart(16, '0'));

interface Made {
  trace?: number;
  span: number;
  parent?: number;
  service: string;
  kind: string;
  ms?: number;
  failed?: boolean;
  attributes?: Record<string, string>;
  links?: [trace: number, span: number][];
  atNs?: bigint;
}

const rowOf = (made: Made): SqlRow => ({
  timestamp: at(made.atNs ?? NOW_NS - MINUTE_NS),
  trace_id: traceId(made.trace ?? 1),
  span_id: spanId(made.span),
  parent_span_id: made.parent === undefined ? `toFixedString('', 8)` : spanId(made.parent),
  service_name: str(made.service),
  span_name: str('op'),
  span_kind: str(made.kind),
  duration_nano: String(BigInt(made.ms ?? 1) * MS),
  status_code: str(made.failed ? 'ERROR' : 'UNSET'),
  ...attributes(made.attributes ?? {}),
  'links.trace_id': `CAST([${(made.links ?? []).map(([trace]) => traceId(trace))}], 'Array(FixedString(16))')`,
  'links.span_id': `CAST([${(made.links ?? []).map(([, span]) => spanId(span))}], 'Array(FixedString(8))')`,
});

describe('The service map', () => {
  let store: TelemetryStore;
  const insert = (rows: Made[], scope = TENANT_A) => store.insert('telemetry_traces', scope, rows.map(rowOf));
  const map = (range = HOUR, scope = TENANT_A) => readServiceMap(scope, store.clickhouse, range);
  const edge = ({ edges }: { edges: ServiceEdge[] }, source: string, target: string) =>
    edges.find((one) => one.source === source && one.target === target);

  before(async () => {
    store = await TelemetryStore.open();
    await insert([
      { span: 1, service: 'web', kind: 'SERVER', ms: 50 },
      { span: 2, parent: 1, service: 'web', kind: 'CLIENT', ms: 40 },
      { span: 3, parent: 2, service: 'shop', kind: 'SERVER', ms: 30 },
      { span: 4, parent: 3, service: 'shop', kind: 'INTERNAL', ms: 20 },
      // Straight below an internal span: its library makes no client spans.
      { span: 5, parent: 4, service: 'stock', kind: 'SERVER', ms: 10, failed: true },
      { span: 6, parent: 4, service: 'stock', kind: 'SERVER', ms: 10 },
      {
        span: 7,
        parent: 4,
        service: 'shop',
        kind: 'CLIENT',
        ms: 5,
        attributes: { 'db.system.name': 'postgresql', 'db.namespace': 'orders', 'server.address': 'db1' },
      },
      {
        span: 8,
        parent: 4,
        service: 'shop',
        kind: 'CLIENT',
        ms: 6,
        failed: true,
        attributes: { 'db.system': 'postgresql', 'db.name': 'orders' },
      },
      {
        span: 9,
        parent: 4,
        service: 'shop',
        kind: 'CLIENT',
        attributes: { 'server.address': 'api.bank.example', 'http.request.method': 'POST' },
      },
      { span: 10, parent: 4, service: 'shop', kind: 'CLIENT', attributes: { 'peer.service': 'web' } },
      { span: 11, parent: 4, service: 'shop', kind: 'CLIENT', attributes: { 'http.request.method': 'GET' } },
      {
        span: 12,
        parent: 4,
        service: 'shop',
        kind: 'PRODUCER',
        attributes: { 'messaging.system': 'kafka', 'messaging.destination.name': 'sold' },
      },
      {
        span: 13,
        parent: 4,
        service: 'shop',
        kind: 'PRODUCER',
        attributes: { 'messaging.system': 'kafka', 'messaging.destination.name': 'lost' },
      },
      // In traces of their own, one by its link alone, one by both.
      { trace: 2, span: 20, service: 'mailer', kind: 'CONSUMER', ms: 3, links: [[1, 12]] },
      { span: 21, parent: 12, service: 'audit', kind: 'CONSUMER', ms: 4, links: [[1, 12]] },
      // The caller began before the range.
      { trace: 3, span: 30, service: 'cron', kind: 'INTERNAL', atNs: HOUR.fromNs - 10n * MINUTE_NS },
      { trace: 3, span: 31, parent: 30, service: 'web', kind: 'SERVER', atNs: HOUR.fromNs + 1n },
      // The same ids in another trace are another span.
      { trace: 4, span: 40, parent: 2, service: 'alone', kind: 'SERVER' },
    ]);
    await insert(
      [
        { span: 2, service: 'theirs', kind: 'CLIENT' },
        { trace: 9, span: 90, service: 'caller', kind: 'CLIENT' },
        { trace: 9, span: 91, parent: 90, service: 'callee', kind: 'SERVER' },
      ],
      TENANT_B,
    );
  });
  after(() => store.close());

  it('knows who called whom by parents in other services, with calls, errors and p95 of the callee', async () => {
    const answer = await map();
    assert.deepEqual(edge(answer, 'web', 'shop'), {
      source: 'web',
      target: 'shop',
      calls: 1,
      errors: 0,
      p95_ms: 30,
      seen_by: 'callee',
    });
    assert.deepEqual(edge(answer, 'shop', 'stock'), {
      source: 'shop',
      target: 'stock',
      calls: 2,
      errors: 1,
      p95_ms: 10,
      seen_by: 'callee',
    });
    assert.deepEqual(edge(answer, 'cron', 'web')?.calls, 1);
    assert.ok(!answer.edges.some(({ source, target }) => source === target || target === 'alone'));
    assert.ok(answer.meta.rows_read > 0 && answer.meta.partial === undefined);
  });

  it('knows consumers by their links, once where the parent says the same', async () => {
    const answer = await map();
    assert.deepEqual(edge(answer, 'shop', 'mailer'), {
      source: 'shop',
      target: 'mailer',
      calls: 1,
      errors: 0,
      p95_ms: 3,
      seen_by: 'callee',
    });
    assert.equal(edge(answer, 'shop', 'audit')?.calls, 1);
  });

  it('names what sends no spans by what its callers say, and nothing that is answered for', async () => {
    const answer = await map();
    const database = edge(answer, 'shop', 'database:postgresql:orders');
    assert.deepEqual([database?.calls, database?.errors, database?.seen_by], [2, 1, 'caller']);
    assert.deepEqual(
      answer.nodes.find(({ id }) => id === 'database:postgresql:orders'),
      { id: 'database:postgresql:orders', name: 'orders', kind: 'database', system: 'postgresql' },
    );
    assert.equal(edge(answer, 'shop', 'external:api.bank.example')?.calls, 1);
    assert.equal(
      edge(answer, 'shop', 'web')?.seen_by,
      'caller',
      'peer.service of a known service is that service',
    );
    assert.ok(edge(answer, 'shop', 'messaging:kafka:lost'));
    assert.ok(!edge(answer, 'shop', 'messaging:kafka:sold'), 'it is consumed by spans that are there');
    assert.equal(answer.edges.length, 9, JSON.stringify(answer.edges));
  });

  it('shows every service, called or not, and every end of an edge', async () => {
    const { nodes, edges } = await map();
    const ids = new Set(nodes.map(({ id }) => id));
    assert.equal(ids.size, nodes.length);
    for (const { source, target } of edges)
      assert.ok(ids.has(source) && ids.has(target), `${source} ${target}`);
    assert.deepEqual(
      nodes.find(({ id }) => id === 'alone'),
      { id: 'alone', name: 'alone', kind: 'service', span_count: 1, error_count: 0 },
    );
    assert.equal(nodes.find(({ id }) => id === 'stock')?.error_count, 1);
  });

  it('keeps to the range and the tenant', async () => {
    const theirs = await map(HOUR, TENANT_B);
    assert.deepEqual(
      theirs.edges.map(({ source, target }) => [source, target]),
      [['caller', 'callee']],
    );
    const before = await map({ fromNs: HOUR.fromNs - 60n * MINUTE_NS, toNs: HOUR.fromNs });
    assert.deepEqual([before.nodes.map(({ id }) => id), before.edges], [['cron'], []]);
  });
});
