import type { Signal } from '../../src/signal.js';

/**
 * How many items a body holds, found by a reader of its own that knows nothing but protobuf's framing and the field
 * numbers on the way to an item. For bodies that were accepted, so it does not look out for broken ones.
 */
export function countProtobufItems(signal: Signal, body: Uint8Array): number {
  const reader = new Reader(body);
  let items = 0;
  reader.each(1, () =>
    reader.each(2, () => reader.each(2, () => (items += signal === 'metrics' ? points(reader) : 1))),
  );
  return items;
}

const DATA_FIELDS = [5, 7, 9, 10, 11];

/** Points of one metric: its data is a oneof, so a later kind replaces an earlier one. */
function points(reader: Reader): number {
  let kind = 0;
  let count = 0;
  reader.fields((field) => {
    if (!DATA_FIELDS.includes(field)) return false;
    if (field !== kind) count = 0;
    kind = field;
    reader.each(1, () => count++);
    return true;
  });
  return count;
}

class Reader {
  private at = 0;
  private end: number;

  constructor(private readonly bytes: Uint8Array) {
    this.end = bytes.length;
  }

  /** Calls `visit` within every length-delimited field of this number of the message that is being read. */
  each(wanted: number, visit: () => void): void {
    this.fields((field) => {
      if (field !== wanted) return false;
      visit();
      return true;
    });
  }

  /** Calls `visit` within every length-delimited field; what it did not read is skipped. */
  fields(visit: (field: number) => boolean): void {
    const { end } = this;
    while (this.at < end) {
      const tag = this.varint();
      const wireType = tag % 8;
      if (wireType === 2) {
        const length = this.varint();
        const next = this.at + length;
        this.end = next;
        visit((tag - wireType) / 8);
        this.end = end;
        this.at = next;
      } else this.skip(wireType, (tag - wireType) / 8);
    }
  }

  private skip(wireType: number, field: number): void {
    if (wireType === 0) this.varint();
    else if (wireType === 1) this.at += 8;
    else if (wireType === 5) this.at += 4;
    else if (wireType === 3) this.skipGroup(field);
    else throw new Error(`wire type ${wireType}`);
  }

  private skipGroup(field: number): void {
    for (;;) {
      const tag = this.varint();
      const wireType = tag % 8;
      if (wireType === 4) {
        if ((tag - 4) / 8 !== field) throw new Error('a group ends that did not begin');
        return;
      }
      if (wireType === 2) {
        const length = this.varint();
        this.at += length;
      } else this.skip(wireType, (tag - wireType) / 8);
    }
  }

  private varint(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      if (this.at >= this.end) throw new Error('cut off');
      const byte = this.bytes[this.at++];
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
  }
}

type Json = { [key: string]: Json } | Json[] | string | number | boolean | null | undefined;

function list(value: Json, ...keys: string[]): Json[] {
  const [key, ...rest] = keys;
  const members =
    typeof value === 'object' && value !== null && !Array.isArray(value) ? value[key] : undefined;
  const found = Array.isArray(members) ? members : [];
  return rest.length === 0 ? found : found.flatMap((member) => list(member, ...rest));
}

const KINDS = ['gauge', 'sum', 'histogram', 'exponentialHistogram', 'summary'];

/** The same for OTLP/JSON. */
export function countJsonItems(signal: Signal, body: Uint8Array): number {
  const request = JSON.parse(new TextDecoder().decode(body)) as Json;
  if (signal === 'traces') return list(request, 'resourceSpans', 'scopeSpans', 'spans').length;
  if (signal === 'logs') return list(request, 'resourceLogs', 'scopeLogs', 'logRecords').length;
  let items = 0;
  for (const metric of list(request, 'resourceMetrics', 'scopeMetrics', 'metrics')) {
    const kinds = Object.keys(metric ?? {}).filter((key) => KINDS.includes(key));
    const last = kinds.at(-1);
    if (last) items += list((metric as { [key: string]: Json })[last], 'dataPoints').length;
  }
  return items;
}
