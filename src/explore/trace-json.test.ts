import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { ExploreApp } from '../../test/support/explore-app.js';
import { TelemetryStore } from '../../test/support/telemetry-store.js';
import { MAX_TRACE_SPANS, SLICE_SPANS } from '../store/trace.js';
import { trace } from './answers.schema.js';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const TOO_LONG = '1af7651916cd43dd8448eb211c80319c';

describe('The JSON of a long trace', () => {
  let store: TelemetryStore;
  let explore: ExploreApp;
  let base: string;
  before(async () => {
    store = await TelemetryStore.open();
    for (const [id, spans] of [
      [TRACE, SLICE_SPANS + 1000],
      [TOO_LONG, MAX_TRACE_SPANS + 10],
    ]) {
      await store.insertSelect(
        'telemetry_traces',
        'organization_id, workspace_id, tenant_id, timestamp, trace_id, span_id, service_name',
        `SELECT 'org', 'ws', 'a', now64(9) - toIntervalMicrosecond(number), unhex('${id}'),
         unhex(leftPad(hex(number + 1), 16, '0')), concat('s', toString(number % 3)) FROM numbers(${spans})`,
      );
    }
    explore = await ExploreApp.start(store.clickhouse);
    base = await explore.listen();
  });
  after(async () => {
    await explore.close();
    await store.close();
  });

  it('is the same as that of a short one, and whole', async () => {
    const { status, body } = await explore.get(`/traces/${TRACE}`);
    assert.equal(status, 200);
    assert.deepEqual(trace.parse(body), body);
    assert.equal(body.spans.length, SLICE_SPANS + 1000);
    assert.deepEqual([body.span_count, body.services], [SLICE_SPANS + 1000, ['s0', 's1', 's2']]);
    assert.equal(
      new Set(body.spans.map(({ span_id }: { span_id: string }) => span_id)).size,
      body.spans.length,
    );
    assert.deepEqual([body.meta.partial, body.meta.partial_reason], [undefined, undefined]);
  });

  it('says when there are more spans than are given', async () => {
    const { body } = await explore.get(`/traces/${TOO_LONG}`);
    assert.deepEqual([body.spans.length, body.span_count], [MAX_TRACE_SPANS, MAX_TRACE_SPANS]);
    assert.equal(body.meta.partial, true);
    assert.match(body.meta.partial_reason, /more than 50000 spans/);
  });

  it('says when the store fails on the way', async () => {
    const { clickhouse } = store;
    let reads = 0;
    const failing = Object.assign(Object.create(clickhouse) as typeof clickhouse, {
      readFor: (...asked: Parameters<typeof clickhouse.readFor>) => {
        if (++reads > 2) throw new Error('connection lost');
        return clickhouse.readFor(...asked);
      },
    });
    const other = await ExploreApp.start(failing);
    const { body } = await other.get(`/traces/${TOO_LONG}`);
    assert.equal(body.spans.length, 2 * SLICE_SPANS);
    assert.equal(body.meta.partial, true);
    assert.match(body.meta.partial_reason, /does not answer. The first spans/);
    await other.close();
  });

  it('is not made on for a caller that has gone', async () => {
    const controller = new AbortController();
    const { body } = await fetch(`${base}/traces/${TOO_LONG}`, { signal: controller.signal });
    const { value } = await body!.getReader().read();
    assert.ok(value!.length > 0);
    controller.abort();
    assert.equal((await explore.get('/traces?limit=1')).status, 200);
    assert.equal(store.clickhouse.stats().reads!.waiting, 0);
  });
});
