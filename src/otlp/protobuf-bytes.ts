/** Field header and varint as protobuf writes them; `value` is a non-negative safe integer. */
export function varintField(field: number, value: number): Buffer {
  const bytes = [field << 3];
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** A length-delimited field: text, bytes or a message. */
export function bytesField(field: number, bytes: Buffer): Buffer {
  const header = varintField(field, bytes.length);
  header[0] |= 2;
  return Buffer.concat([header, bytes]);
}
