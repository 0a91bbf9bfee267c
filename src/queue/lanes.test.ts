import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scopeOf } from '../../test/support/queue-entries.js';
import { MAX_BATCH_ENTRIES } from './ingest-queue.js';
import { Lanes } from './lanes.js';
import type { StoredEntry } from './stored-entry.js';

let lastId = 0;

function entry(tenant: string, bodyBytes: number, queuedAtMs = 0, items = 1): StoredEntry {
  const times = { receivedAtMs: 0, addedAtMs: 0, queuedAtMs, retentionDays: 1 };
  const place = { segment: undefined as never, offset: 0, bytes: 0 };
  return {
    id: ++lastId,
    signal: 'logs',
    scope: scopeOf(tenant),
    ...times,
    items,
    reasons: undefined,
    bodyBytes,
    place,
    body: undefined,
  };
}

function tenantsTaken(lanes: Lanes, nowMs: number): string[] {
  const limits = { maxBytes: 100, maxItems: 1000, maxAgeMs: 50 };
  const tenants: string[] = [];
  for (let taken = lanes.take(limits, nowMs); taken; taken = lanes.take(limits, nowMs)) {
    tenants.push(`${taken[0].scope.tenantId}${taken.length}`);
  }
  return tenants;
}

test('a noisy tenant does not hold up the others: tenants take turns', () => {
  const lanes = new Lanes();
  for (let i = 0; i < 6; i++) lanes.add(entry('noisy', 60));
  lanes.add(entry('a', 100));
  lanes.add(entry('b', 100));
  assert.deepEqual(tenantsTaken(lanes, 0), ['noisy1', 'a1', 'b1', 'noisy1', 'noisy1', 'noisy1', 'noisy1']);
  assert.deepEqual(tenantsTaken(lanes, 50), ['noisy1']);
});

test('a batch closes at its bytes or items, never mixes tenants, and takes one larger entry alone', () => {
  const lanes = new Lanes();
  for (const bytes of [40, 40, 40]) lanes.add(entry('a', bytes));
  lanes.add(entry('b', 500));
  const limits = { maxBytes: 100, maxItems: 2, maxAgeMs: 1000 };
  assert.deepEqual(
    lanes.take(limits, 0)?.map(({ bodyBytes }) => bodyBytes),
    [40, 40],
  );
  assert.deepEqual(
    lanes.take(limits, 0)?.map(({ bodyBytes }) => bodyBytes),
    [500],
  );
  assert.equal(lanes.take(limits, 0), undefined);
});

test('a batch of small entries closes at their number: each takes memory of its own', () => {
  const lanes = new Lanes();
  for (let count = 0; count < MAX_BATCH_ENTRIES + 3; count++) lanes.add(entry('a', 1));
  const limits = { maxBytes: 1e9, maxItems: 1e9, maxAgeMs: 1000 };
  assert.equal(lanes.take(limits, 0)?.length, MAX_BATCH_ENTRIES, 'and is given out at once');
  assert.equal(lanes.take(limits, 0), undefined);
  assert.equal(lanes.take(limits, 1000)?.length, 3);
});

test('a small batch is due when its oldest entry has waited long enough', () => {
  const lanes = new Lanes();
  const limits = { maxBytes: 100, maxItems: 100, maxAgeMs: 200 };
  assert.equal(lanes.nextDueAtMs(limits), Number.POSITIVE_INFINITY);
  lanes.add(entry('a', 1, 1000));
  lanes.add(entry('a', 1, 1100));
  assert.equal(lanes.nextDueAtMs(limits), 1200);
  assert.equal(lanes.take(limits, 1199), undefined);
  assert.equal(lanes.take(limits, 1200)?.length, 2);
});

test('order within a tenant is kept over many small batches', () => {
  const lanes = new Lanes();
  const ids: number[] = [];
  for (let i = 0; i < 5000; i++) ids.push(lanes.add(entry('a', 10)).entries.at(-1)?.id ?? 0);
  const limits = { maxBytes: 25, maxItems: 100, maxAgeMs: 0 };
  const taken: number[] = [];
  for (let batch = lanes.take(limits, 1); batch; batch = lanes.take(limits, 1))
    taken.push(...batch.map(({ id }) => id));
  assert.deepEqual(taken, ids);
});
