import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { expectedRows } from '../../test/support/expected-rows.js';
import { NativeStore, type StoredRow } from '../../test/support/native-store.js';
import { otlpRequest } from '../../test/support/otlp-arbitraries.js';
import { encodeOtlp, otlp } from '../../test/support/otlp-proto.js';
import { reorder } from '../../test/support/otlp-reorder.js';
import { randomFrom } from '../../test/support/random.js';
import { checkBody } from '../otlp/check.js';
import type { Signal } from '../signal.js';
import { Transcoder } from './transcoder.js';

const MIGRATIONS = fileURLToPath(new URL('../../../migrations/clickhouse', import.meta.url));
const WINDOW = { receivedAtMs: Date.UTC(2026, 5, 1, 12), retentionDays: 30 };
let store: NativeStore;
before(async () => {
  store = await NativeStore.open(MIGRATIONS);
});
after(() => store.close());

/** Rows in an order that does not depend on the engine's. */
function sorted(rows: StoredRow[]): StoredRow[] {
  const keyed = rows.map((row) => {
    const entries = Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1));
    return { key: JSON.stringify(entries), row: Object.fromEntries(entries) };
  });
  return keyed.sort((a, b) => (a.key < b.key ? -1 : 1)).map(({ row }) => row);
}

for (const signal of ['traces', 'logs', 'metrics'] as Signal[]) {
  test(`random ${signal} come back from the engine exactly as protobufjs reads them, their fields in any order`, async () => {
    const transcoder = new Transcoder(signal);
    const requests = fc.array(otlpRequest(signal, WINDOW.receivedAtMs), { minLength: 1, maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(requests, fc.integer(), async (batch, seed) => {
        const random = randomFrom(seed);
        const expected: StoredRow[] = [];
        for (const request of batch) {
          const body = reorder(otlp[signal], encodeOtlp(otlp[signal], request), random);
          const type = otlp[signal];
          const decoded = type.toObject(type.decode(body), { longs: String });
          const rows = expectedRows(signal, decoded, WINDOW.receivedAtMs);
          const result = checkBody(signal, body, WINDOW);
          assert.deepEqual({ ...result }, { items: rows.length, rejected: 0, reasons: [], invalidUtf8: 0 });
          transcoder.add(body, WINDOW);
          expected.push(...rows);
        }
        const block = transcoder.finish();
        assert.equal(block.rows, expected.length);
        await store.insert(signal, block);
        assert.deepEqual(sorted(await store.take(signal)), sorted(expected));
      }),
      { numRuns: 25, includeErrorInReport: true },
    );
  });
}
