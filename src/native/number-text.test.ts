import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ByteSink } from './byte-sink.js';
import { appendBase64, appendDouble, appendInt64, appendWhole } from './number-text.js';

function textOf(append: (sink: ByteSink) => void): string {
  const sink = new ByteSink(1);
  append(sink);
  return Buffer.from(sink.written()).toString('latin1');
}

const RUNS = { numRuns: 20_000 };

test('64-bit integers become the same decimal text as BigInt', () => {
  const check = (value: bigint) => {
    const low = Number(BigInt.asIntN(32, value));
    const high = Number(BigInt.asIntN(32, value >> 32n));
    assert.equal(
      textOf((sink) => appendInt64(sink, low, high)),
      String(value),
    );
  };
  for (const edge of [0n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 10n ** 9n, 10n ** 18n, 2n ** 63n - 1n]) {
    for (const value of [edge - 1n, edge, edge + 1n, -edge - 1n, -edge, 1n - edge])
      check(BigInt.asIntN(64, value));
  }
  fc.assert(fc.property(fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), check), RUNS);
  fc.assert(fc.property(fc.bigInt(-(10n ** 12n), 10n ** 12n), check), RUNS);
});

test('whole numbers up to 2^53 become their decimal text', () => {
  const check = (value: number) =>
    assert.equal(
      textOf((sink) => appendWhole(sink, value)),
      String(value),
    );
  for (let power = 1; power < 2 ** 53; power *= 10) [power - 1, power, power + 1].forEach(check);
  check(Number.MAX_SAFE_INTEGER);
  fc.assert(fc.property(fc.maxSafeNat(), check), RUNS);
});

test('doubles become the shortest text that reads back as the same double', () => {
  const check = (value: number) => {
    const expected = Object.is(value, -0) ? '-0' : String(value);
    assert.equal(
      textOf((sink) => appendDouble(sink, value)),
      expected,
    );
  };
  [0, -0, NaN, Infinity, -Infinity, 1e21, 1e-6, 1e-7, 123456.789, 1e15, 999999999999999, 0.1 + 0.2].forEach(
    check,
  );
  [5e-324, Number.MAX_VALUE, 0.000001, 1.000001, 4.35, 1.005, -1.5, 1e14 + 0.5].forEach(check);
  fc.assert(fc.property(fc.double(), check), RUNS);
  const decimal = fc
    .tuple(fc.integer(), fc.integer({ min: 0, max: 8 }))
    .map(([n, places]) => n / 10 ** places);
  fc.assert(fc.property(decimal, check), RUNS);
  fc.assert(
    fc.property(
      fc.double({ min: -1e7, max: 1e7 }).map((n) => Math.round(n * 1000) / 1000),
      check,
    ),
    RUNS,
  );
});

test('bytes become base64 with padding', () => {
  const check = (bytes: Uint8Array) => {
    const source = new ByteSink();
    source.wrap(bytes);
    const expected = Buffer.from(bytes).toString('base64');
    assert.equal(
      textOf((sink) => appendBase64(sink, source, 0, bytes.length)),
      expected,
    );
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 20 }), check));
});
