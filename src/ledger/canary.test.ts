import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { checkBody } from '../otlp/check.js';
import { canaryItem } from './canary.js';
import { Freshness } from './freshness.js';

test('the item is one good log record, never the same twice', () => {
  const nowMs = Date.now();
  const [one, two] = [canaryItem(nowMs), canaryItem(nowMs)];
  const window = { receivedAtMs: nowMs, retentionDays: 1 };
  assert.deepEqual(checkBody('logs', one.body, window), {
    items: 1,
    rejected: 0,
    reasons: [],
    invalidUtf8: 0,
  });
  assert.ok(one.body.includes(one.text));
  assert.notDeepEqual(one.body, two.body);
});

test('health says how long the last item took, and degraded when none was seen for a minute', () => {
  const freshness = new Freshness(new Registry(), true, 1000);
  assert.deepEqual(freshness.health(61_000), { status: 'up', ingest_visible_ms: null });
  assert.match(freshness.health(62_000)!.degraded!, /no item has become visible for 61 s/);
  freshness.seen(412.4, 70_000);
  assert.deepEqual(freshness.health(130_000), { status: 'up', ingest_visible_ms: 412 });
  assert.ok(freshness.health(130_001)!.degraded);
  assert.equal(new Freshness(new Registry(), false, 0).health(1e9), undefined, 'where it is not measured');
});
