import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import { test } from 'node:test';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { otlp } from '../../test/support/otlp-proto.js';
import { AppError } from '../errors.js';
import type { Signal } from '../signal.js';
import { jsonToProtobuf } from './json.js';

/** One value twice: as OTLP/JSON text and as what protobufjs takes. */
interface Twin {
  json: string;
  proto: unknown;
}
type Twins = fc.Arbitrary<Twin>;

const SIGNALS: Signal[] = ['traces', 'logs', 'metrics'];
const MAX_ANY_VALUE_DEPTH = 3;

const escapeAll = (text: string) =>
  `"${Array.from({ length: text.length }, (_, index) => `\\u${text.charCodeAt(index).toString(16).padStart(4, '0')}`).join('')}"`;

/** Text that is valid Unicode, written plain or with every character escaped. */
const text: Twins = fc
  .tuple(fc.string({ unit: 'binary', maxLength: 200 }), fc.boolean())
  .map(([proto, escaped]) => ({ json: escaped ? escapeAll(proto) : JSON.stringify(proto), proto }));

const integer = (min: bigint, max: bigint): Twins =>
  fc
    .tuple(fc.oneof(fc.bigInt({ min, max }), fc.constantFrom(min, max, 0n)), fc.boolean())
    .map(([value, quoted]) => ({ json: quoted ? `"${value}"` : `${value}`, proto: value.toString() }));

const small = (min: number, max: number): Twins =>
  integer(BigInt(min), BigInt(max)).map(({ json, proto }) => ({ json, proto: Number(proto) }));

const double: Twins = fc
  .tuple(fc.oneof(fc.double(), fc.integer(), fc.constantFrom(0.1, -0, 1.7976931348623157e308)), fc.boolean())
  .map(([proto, quoted]) => {
    const written = Object.is(proto, -0) ? '-0' : String(proto);
    return { json: quoted || !Number.isFinite(proto) ? `"${written}"` : written, proto };
  });

const base64: Twins = fc
  .tuple(fc.uint8Array({ maxLength: 300 }), fc.constantFrom('base64' as const, 'base64url' as const))
  .map(([proto, encoding]) => ({ json: JSON.stringify(Buffer.from(proto).toString(encoding)), proto }));

const id: Twins = fc.tuple(fc.uint8Array({ maxLength: 20 }), fc.boolean()).map(([proto, upper]) => {
  const hex = Buffer.from(proto).toString('hex');
  return { json: JSON.stringify(upper ? hex.toUpperCase() : hex), proto };
});

const SCALARS: Record<string, Twins> = {
  string: text,
  bytes: base64,
  bool: fc.boolean().map((proto) => ({ json: String(proto), proto })),
  double,
  uint32: small(0, 2 ** 32 - 1),
  fixed32: small(0, 2 ** 32 - 1),
  sint32: small(-(2 ** 31), 2 ** 31 - 1),
  int64: integer(-(2n ** 63n), 2n ** 63n - 1n),
  sfixed64: integer(-(2n ** 63n), 2n ** 63n - 1n),
  uint64: integer(0n, 2n ** 64n - 1n),
  fixed64: integer(0n, 2n ** 64n - 1n),
};

function twinsOf(field: protobuf.Field, depth: number): Twins {
  const { resolvedType } = field.resolve();
  if (resolvedType instanceof protobuf.Enum) {
    return fc
      .constantFrom(...Object.values(resolvedType.values))
      .map((proto) => ({ json: `${proto}`, proto }));
  }
  if (resolvedType) return messageOf(resolvedType, depth);
  return field.type === 'bytes' && field.name !== 'bytesValue' ? id : SCALARS[field.type];
}

function fieldOf(field: protobuf.Field, depth: number): Twins {
  if (!field.repeated) return twinsOf(field, depth);
  return fc.array(twinsOf(field, depth), { maxLength: 3 }).map((items) => ({
    json: `[${items.map((item) => item.json).join(' , ')}]`,
    proto: items.map((item) => item.proto),
  }));
}

/** Any message of a type: each field there or not, at most one of a oneof, between them fields that OTLP does not have. */
function messageOf(type: protobuf.Type, depth: number): Twins {
  if (type.name === 'AnyValue' && depth > MAX_ANY_VALUE_DEPTH) return SCALARS.string.map(asStringValue);
  const deeper = type.name === 'AnyValue' ? depth + 1 : depth;
  const fields = type.fieldsArray.filter((field) => field.name !== 'entityRefs');
  const oneof = type.oneofsArray.find((candidate) => !candidate.name.startsWith('_'));
  const names = fields.map((field) => field.name);
  return fc
    .tuple(fc.subarray(names), oneof ? fc.constantFrom(...oneof.oneof) : fc.constant(''), fc.boolean())
    .chain(([present, chosen, strange]) => {
      const kept = fields.filter((field) =>
        oneof?.oneof.includes(field.name) ? field.name === chosen : present.includes(field.name),
      );
      return fc.tuple(...kept.map((field) => fieldOf(field, deeper))).map((values) => {
        const members = kept.map((field, index) => `"${field.name}" : ${values[index].json}`);
        if (strange) members.unshift('"notInOtlp":{"name":[1,{"a":null}],"b":"\\\\\\""}', '"trace_id":1');
        return {
          json: `{\n${members.join(',\t')} }`,
          proto: Object.fromEntries(kept.map((field, index) => [field.name, values[index].proto])),
        };
      });
    });
}

const asStringValue = ({ json, proto }: Twin): Twin => ({
  json: `{"stringValue":${json}}`,
  proto: { stringValue: proto },
});

const READ = { longs: String, bytes: String, enums: Number, defaults: true, oneofs: true } as const;
const asRead = (signal: Signal, bytes: Uint8Array) =>
  otlp[signal].toObject(otlp[signal].decode(bytes), READ) as unknown;

for (const signal of SIGNALS) {
  test(`any ${signal} request in JSON becomes the same request in protobuf`, () => {
    fc.assert(
      fc.property(messageOf(otlp[signal], 0), ({ json, proto }) => {
        const expected = otlp[signal].encode(otlp[signal].fromObject(proto as object)).finish();
        const converted = jsonToProtobuf(signal, Buffer.from(json));
        assert.deepEqual(asRead(signal, converted), asRead(signal, expected));
      }),
      { numRuns: 300 },
    );
  });
}

test('text is taken as JSON exactly when JSON.parse takes it', () => {
  const damage = fc.record({
    at: fc.nat(),
    remove: fc.nat({ max: 2 }),
    insert: fc.constantFrom(
      '',
      '"',
      '\\',
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '0',
      '-',
      '.',
      'e',
      '1',
      ' ',
      '\n',
      'n',
      '\\u',
    ),
  });
  const verdict = (read: () => unknown) => {
    try {
      read();
      return true;
    } catch {
      return false;
    }
  };
  fc.assert(
    fc.property(fc.json({ maxDepth: 4 }), fc.array(damage, { maxLength: 2 }), (json, damages) => {
      let body = `{"notInOtlp":${json}}`;
      for (const { at, remove, insert } of damages) {
        const from = at % body.length;
        body = body.slice(0, from) + insert + body.slice(from + remove);
      }
      const parsed = verdict(() => {
        const value = JSON.parse(body) as unknown;
        assert.ok(typeof value === 'object' && value !== null && !Array.isArray(value));
      });
      assert.equal(
        verdict(() => jsonToProtobuf('logs', Buffer.from(body))),
        parsed,
        body,
      );
    }),
    { numRuns: 3000 },
  );
});

test('a damaged body is taken or refused as malformed, never anything else', () => {
  const whole = SIGNALS.flatMap((signal) =>
    fc.sample(messageOf(otlp[signal], 0), { numRuns: 20, seed: 7 }).map(({ json }) => ({ signal, json })),
  );
  const hits = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(fc.constantFrom(...whole), hits, fc.option(fc.nat()), ({ signal, json }, damages, cut) => {
      const body = Buffer.from(json);
      for (const [at, byte] of damages) body[at % body.length] = byte;
      const sent = cut === null ? body : body.subarray(0, cut % body.length);
      try {
        const converted = jsonToProtobuf(signal, sent);
        // Text that isn't UTF-8 is handed on, and protobufjs refuses it.
        if (isUtf8(sent)) otlp[signal].decode(converted);
      } catch (error) {
        assert.ok(error instanceof AppError && error.code === 'MALFORMED_BODY', String(error));
      }
    }),
    { numRuns: 5000 },
  );
});
