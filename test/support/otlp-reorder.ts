import protobuf from 'protobufjs';

/**
 * The same message in other bytes, all of which a protobuf reader must take as the same: fields in another order
 * (those of one number keep theirs), repeated numbers packed or one by one, fields unknown to it in between.
 */
export function reorder(type: protobuf.Type, bytes: Uint8Array, random: () => number): Uint8Array {
  const byNumber = new Map<number, Uint8Array[]>();
  const reader = protobuf.Reader.create(bytes);
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const tag = reader.uint32();
    const payload = reader.pos;
    reader.skipType(tag & 7);
    const whole = bytes.subarray(start, reader.pos);
    const chunks = byNumber.get(tag >>> 3) ?? [];
    byNumber.set(tag >>> 3, chunks);
    chunks.push(...rewrite(type, tag, whole, bytes.subarray(payload, reader.pos), random));
  }
  const queues = [...byNumber.values(), unknownFields(random)].filter((queue) => queue.length > 0);
  const out: Uint8Array[] = [];
  while (queues.length > 0) {
    const at = Math.floor(random() * queues.length);
    out.push(queues[at].shift()!);
    if (queues[at].length === 0) queues.splice(at, 1);
  }
  return Buffer.concat(out);
}

function rewrite(
  type: protobuf.Type,
  tag: number,
  whole: Uint8Array,
  payload: Uint8Array,
  random: () => number,
): Uint8Array[] {
  const field = type.fieldsById[tag >>> 3]?.resolve();
  if (field?.resolvedType instanceof protobuf.Type) {
    const inner = reorder(field.resolvedType, protobuf.Reader.create(payload).bytes(), random);
    return [protobuf.Writer.create().uint32(tag).bytes(inner).finish()];
  }
  if (!field?.repeated || (tag & 7) !== 2 || !(field.type in protobuf.types.packed) || random() < 0.5) {
    return [whole];
  }
  const wireType = protobuf.types.packed[field.type as keyof typeof protobuf.types.packed];
  const numbers = protobuf.Reader.create(protobuf.Reader.create(payload).bytes());
  const out: Uint8Array[] = [];
  while (numbers.pos < numbers.len) {
    const start = numbers.pos;
    numbers.skipType(wireType);
    const head = protobuf.Writer.create()
      .uint32(((tag >>> 3) << 3) | wireType)
      .finish();
    out.push(Buffer.concat([head, numbers.buf.subarray(start, numbers.pos)]));
  }
  return out;
}

function unknownFields(random: () => number): Uint8Array[] {
  if (random() < 0.7) return [];
  const writer = protobuf.Writer.create();
  const number = 30 + Math.floor(random() * 1000);
  switch (Math.floor(random() * 4)) {
    case 0:
      writer.uint32(number << 3).uint64('18446744073709551615');
      break;
    case 1:
      writer.uint32((number << 3) | 1).fixed64(5);
      break;
    case 2:
      writer.uint32((number << 3) | 2).bytes(new Uint8Array(Math.floor(random() * 200)));
      break;
    default:
      writer.uint32((number << 3) | 5).fixed32(5);
  }
  return [writer.finish()];
}
