import assert from 'node:assert/strict';
import { test } from 'node:test';
import type protobuf from 'protobufjs';
import { otlp } from '../../test/support/otlp-proto.js';
import { compareItem, itemsOf } from './otlp-compare.js';
import { fixtureOf } from './otlp-fixture.js';
import { Run } from './otlp-run.js';
import type { OtlpObject, OtlpValue } from './otlp-values.js';

const fixture = fixtureOf(new Run('test', '0123456789abcdef0123456789abcdef', 1_763_900_000_000_000_000n));
const SIGNALS = ['traces', 'logs', 'metrics'] as const;

/** Every `Message.field` that can be reached from a type; entity references are not kept. */
function fieldsOf(type: protobuf.Type, found = new Set<string>()): Set<string> {
  for (const field of type.fieldsArray) {
    const name = `${type.name}.${field.name}`;
    if (found.has(name) || field.name === 'entityRefs') continue;
    found.add(name);
    const { resolvedType } = field.resolve();
    if (resolvedType && 'fieldsArray' in resolvedType) fieldsOf(resolvedType, found);
  }
  return found;
}

function fieldsIn(type: protobuf.Type, message: OtlpObject, found: Set<string>): void {
  for (const [name, value] of Object.entries(message)) {
    const field = type.fields[name];
    assert.ok(field, `${type.name}.${name} is no OTLP field`);
    if (value === null) continue;
    found.add(`${type.name}.${name}`);
    const { resolvedType } = field.resolve();
    if (!resolvedType || !('fieldsArray' in resolvedType)) continue;
    for (const member of [value].flat()) fieldsIn(resolvedType, member as OtlpObject, found);
  }
}

function leavesOf(value: OtlpValue, path: string): string[] {
  if (Array.isArray(value)) return value.flatMap((member, index) => leavesOf(member, `${path}[${index}]`));
  if (typeof value !== 'object' || value === null) return [path];
  return Object.entries(value).flatMap(([name, member]) => leavesOf(member, path ? `${path}.${name}` : name));
}

for (const signal of SIGNALS) {
  test(`the ${signal} sent hold every field that OTLP has`, () => {
    const found = new Set<string>();
    fieldsIn(otlp[signal], fixture[signal], found);
    assert.deepEqual([...found].sort(), [...fieldsOf(otlp[signal])].sort());
  });

  test(`every field of the ${signal} sent is compared`, () => {
    const compared = itemsOf(fixture[signal]).flatMap((item) =>
      compareItem(item, {}).map(({ otlp: path }) => path),
    );
    // A log body is compared as a whole; of an item as a whole only what is derived from several fields.
    const whole = /(\.resource|\.(spans|logRecords|metrics|dataPoints|exemplars)\[\d+\])$/;
    const covered = new Set(compared.filter((path) => !path.endsWith(')') && !whole.test(path)));
    const isCovered = (leaf: string) =>
      [...leaf.matchAll(/[.[]|$/g)].some(({ index }) => covered.has(leaf.slice(0, index)));
    const elsewhere = [
      /\.(attributes|filteredAttributes|metadata)\[\d+\]\.key$/, // compared as the keys of all
      /\.as(Int|Double)$/, // compared as value and value_type
      /\.scope\w+\[1\]\.(scope\.name|spans|logRecords|metrics)$/, // a scope without items is not kept
    ];
    const missing = leavesOf(fixture[signal], '').filter((leaf) => !isCovered(leaf));
    assert.deepEqual(
      missing.filter((leaf) => !elsewhere.some((pattern) => pattern.test(leaf))),
      [],
    );
  });
}

test('an answer that lacks everything differs in every field that was sent', () => {
  const compared = itemsOf(fixture.traces).flatMap((item) => compareItem(item, {}));
  const same = compared.filter((each) => each.same);
  // Only the number of members of a list that was not sent.
  assert.deepEqual([...new Set(same.map(({ expected }) => JSON.stringify(expected)))].sort(), ['0', '[]']);
});
