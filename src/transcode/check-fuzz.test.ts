import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { NativeStore } from '../../test/support/native-store.js';
import { otlpRequest } from '../../test/support/otlp-arbitraries.js';
import { makeHistogramsBody, makeLogsBody, makeTracesBody } from '../../test/support/otlp-bodies.js';
import { encodeOtlp, otlp } from '../../test/support/otlp-proto.js';
import { randomFrom } from '../../test/support/random.js';
import { AppError } from '../errors.js';
import { type CheckResult, checkBody } from '../otlp/check.js';
import type { Signal } from '../signal.js';
import { Transcoder } from './transcoder.js';

const MIGRATIONS = fileURLToPath(new URL('../../../migrations/clickhouse', import.meta.url));
const NOW = Date.UTC(2026, 5, 1, 12);
const WINDOW = { receivedAtMs: NOW, retentionDays: 30 };
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000);
const MUTATIONS = Number(process.env.FUZZ_RUNS ?? 4000);
const MAKE = { traces: makeTracesBody, logs: makeLogsBody, metrics: makeHistogramsBody };

let store: NativeStore;
before(async () => {
  store = await NativeStore.open(MIGRATIONS);
});
after(() => store.close());

/** What the check says, or undefined when it calls the body malformed; anything else thrown is a defect. */
function check(signal: Signal, body: Uint8Array): CheckResult | undefined {
  try {
    return checkBody(signal, body, WINDOW);
  } catch (error) {
    if (error instanceof AppError && error.code === 'MALFORMED_BODY') return undefined;
    throw error;
  }
}

/** The check's verdict, after the transcoder was seen to agree with it. */
function checkBoth(signal: Signal, body: Uint8Array, transcoder: Transcoder): CheckResult | undefined {
  const result = check(signal, body);
  if (result) {
    const before = transcoder.rows;
    transcoder.add(body, WINDOW);
    assert.equal(transcoder.rows - before, result.items - result.rejected);
    const counted = result.reasons.reduce((sum, { count }) => sum + count, 0);
    assert.equal(counted, result.rejected);
  }
  return result;
}

function mutate(body: Uint8Array, random: () => number): Uint8Array {
  const below = (limit: number) => Math.floor(random() * limit);
  const bytes = [...body];
  for (let edits = 1 + below(3); edits > 0; edits--) {
    const at = below(bytes.length);
    const length = 1 + below(8);
    switch (below(5)) {
      case 0:
        bytes[at] = below(256);
        break;
      case 1:
        bytes[at] ^= 1 << below(8);
        break;
      case 2:
        bytes.splice(at, length);
        break;
      case 3:
        bytes.splice(at, 0, ...Array.from({ length }, () => below(256)));
        break;
      default:
        bytes.splice(at, 0, ...bytes.slice(below(bytes.length)).slice(0, length * 4));
    }
    if (bytes.length === 0) break;
  }
  return Uint8Array.from(bytes);
}

describe('Whatever arrives', () => {
  for (const signal of ['traces', 'logs', 'metrics'] as const) {
    test(`${signal} cut off at any byte are refused or consistent`, () => {
      const body = MAKE[signal]({ items: 20, seed: 3, nowMs: NOW });
      const transcoder = new Transcoder(signal);
      let accepted = 0;
      for (let length = 0; length < body.length; length++) {
        if (checkBoth(signal, body.slice(0, length), transcoder)) accepted++;
      }
      // Only between two resource blocks is a cut invisible.
      const blocks = Object.values(otlp[signal].decode(body))[0] as unknown[];
      assert.equal(accepted, blocks.length);
    });

    test(`mutated ${signal} are refused as malformed or become exactly the rows announced (seed ${SEED})`, async () => {
      const random = randomFrom(SEED);
      const sample = { numRuns: 40, seed: SEED };
      const bodies = fc
        .sample(otlpRequest(signal, NOW), sample)
        .map((request) => encodeOtlp(otlp[signal], request))
        .filter((body) => body.length > 0);
      bodies.push(MAKE[signal]({ items: 8, seed: SEED, nowMs: NOW }));
      const transcoder = new Transcoder(signal);
      let accepted = 0;
      for (let i = 0; i < MUTATIONS; i++) {
        const body = mutate(bodies[i % bodies.length], random);
        if (checkBoth(signal, body, transcoder)) accepted++;
      }
      assert.ok(accepted > MUTATIONS / 20 && accepted < MUTATIONS, `${accepted} accepted`);
      const block = transcoder.finish();
      await store.insert(signal, block);
      assert.equal((await store.take(signal)).length, block.rows);
    });

    test(`${signal} that the check would refuse neither hang nor crash the transcoder (seed ${SEED})`, () => {
      const random = randomFrom(SEED + 1);
      const body = MAKE[signal]({ items: 8, seed: SEED, nowMs: NOW });
      const transcoder = new Transcoder(signal);
      for (let i = 0; i < MUTATIONS; i++) {
        try {
          transcoder.add(mutate(body, random), WINDOW);
        } catch (error) {
          assert.ok(error instanceof AppError && error.code === 'MALFORMED_BODY', String(error));
          assert.equal(transcoder.rows, 0);
        }
      }
    });
  }

  test('random bytes are refused as malformed or hold no items', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 64 }),
        fc.constantFrom<Signal>('traces', 'logs', 'metrics'),
        (body, signal) => {
          const result = check(signal, body);
          assert.ok(result === undefined || result.items <= body.length);
        },
      ),
      { numRuns: 20_000 },
    );
  });
});
