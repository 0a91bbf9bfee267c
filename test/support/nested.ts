import { logRecord } from './items.js';
import { encode } from './otlp-client.js';

/** A request with one log record whose body is a text nested `depth` lists deep; built without recursion. */
function nestedJson(depth: number, marker: string): Buffer {
  const value = `${'{"arrayValue":{"values":['.repeat(depth)}{"stringValue":"inside"}${']}}'.repeat(depth)}`;
  const record = JSON.stringify(logRecord(marker)).replace('{"stringValue":"a line"}', () => value);
  return Buffer.from(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[${record}]}]}]}`);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}

/** The same as protobuf, from the inside out. */
function nestedProtobuf(depth: number, marker: string): Buffer {
  const parts: Buffer[] = [Buffer.from('inside')];
  let length = 6;
  const wrap = (tag: number) => {
    const head = Buffer.concat([Buffer.from([tag]), varint(length)]);
    length += head.length;
    parts.push(head);
  };
  wrap(0x0a);
  for (let i = 0; i < depth; i++) {
    wrap(0x0a);
    wrap(0x2a);
  }
  wrap(0x2a);
  const { body: _, ...plain } = logRecord(marker);
  const request = encode('logs', 'protobuf', { resourceLogs: [{ scopeLogs: [{ logRecords: [plain] }] }] });
  // Three envelopes of one length byte each stand before the record.
  const rest = request.subarray(6);
  parts.push(rest);
  length += rest.length;
  for (let i = 0; i < 3; i++) wrap([0x12, 0x12, 0x0a][i]);
  return Buffer.concat(parts.reverse());
}

/** A request whose one log record, with this marker, has a body nested so deep. */
export const nestedBody = { json: nestedJson, protobuf: nestedProtobuf };
