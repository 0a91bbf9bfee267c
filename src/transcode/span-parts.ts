import { ArrayGroup } from '../native/array-columns.js';
import { AttributesColumn } from '../native/attributes-column.js';
import type { ByteSink } from '../native/byte-sink.js';
import { DictionaryColumn } from '../native/dictionary-column.js';
import type { NamedColumn } from '../native/native-block.js';
import { FixedColumn, StringColumn } from '../native/native-columns.js';
import { isOptionalId } from '../otlp/item-rules.js';
import { longLength, readVarint32, skipField, varintEnd } from '../otlp/wire.js';

/** The `events.*` columns. */
export class Events {
  readonly group = new ArrayGroup();
  private readonly timestamp = new FixedColumn('DateTime64(9)', 8);
  private readonly eventName = new DictionaryColumn();
  private readonly attributes = new AttributesColumn();
  private readonly dropped = new FixedColumn('UInt32', 4);
  readonly columns: NamedColumn[] = [
    { name: 'events.timestamp', column: this.group.column(this.timestamp) },
    { name: 'events.name', column: this.group.column(this.eventName) },
    { name: 'events.attributes', column: this.group.column(this.attributes) },
    { name: 'events.attribute_types', column: this.group.column(this.attributes.types) },
    { name: 'events.dropped_attributes_count', column: this.group.column(this.dropped) },
  ];

  /** Adds the Event message at [pos, end). @returns false when an attribute is nested too deeply */
  add(source: ByteSink, pos: number, end: number): boolean {
    const { bytes } = source;
    const index = this.group.count++;
    let isShallow = true;
    let timeAt = -1;
    let nameAt = pos;
    let nameLength = 0;
    let dropped = 0;
    while (pos < end) {
      const tag = readVarint32(bytes, pos, end);
      pos = varintEnd[0];
      if ((tag & 7) !== 2) {
        if (tag === 0x09) timeAt = pos;
        else if (tag === 0x20) dropped = readVarint32(bytes, pos, end);
        pos = skipField(bytes, tag, pos, end);
        continue;
      }
      const length = longLength(bytes, pos, end);
      pos = varintEnd[0];
      if (tag === 0x12) {
        nameAt = pos;
        nameLength = length;
      } else if (tag === 0x1a && !this.attributes.add(source, pos, pos + length)) isShallow = false;
      pos += length;
    }
    this.timestamp.copy64(index, source, timeAt);
    this.eventName.put(index, source, nameAt, nameLength);
    this.attributes.endRow(index);
    this.dropped.putUint32(index, dropped);
    return isShallow;
  }
}

/** The `links.*` columns. */
export class Links {
  readonly group = new ArrayGroup();
  private readonly traceId = new FixedColumn('FixedString(16)', 16);
  private readonly spanId = new FixedColumn('FixedString(8)', 8);
  private readonly traceState = new StringColumn();
  private readonly flags = new FixedColumn('UInt32', 4);
  private readonly attributes = new AttributesColumn();
  private readonly dropped = new FixedColumn('UInt32', 4);
  readonly columns: NamedColumn[] = [
    { name: 'links.trace_id', column: this.group.column(this.traceId) },
    { name: 'links.span_id', column: this.group.column(this.spanId) },
    { name: 'links.trace_state', column: this.group.column(this.traceState) },
    { name: 'links.flags', column: this.group.column(this.flags) },
    { name: 'links.attributes', column: this.group.column(this.attributes) },
    { name: 'links.attribute_types', column: this.group.column(this.attributes.types) },
    { name: 'links.dropped_attributes_count', column: this.group.column(this.dropped) },
  ];

  /** Adds the Link message at [pos, end). @returns false when its span is to be rejected for it */
  add(source: ByteSink, pos: number, end: number): boolean {
    const { bytes } = source;
    const index = this.group.count++;
    let isGood = true;
    let traceAt = pos;
    let traceLength = 0;
    let spanAt = pos;
    let spanLength = 0;
    let stateAt = pos;
    let stateLength = 0;
    let dropped = 0;
    let flags = 0;
    while (pos < end) {
      const tag = readVarint32(bytes, pos, end);
      pos = varintEnd[0];
      if ((tag & 7) !== 2) {
        if (tag === 0x28) dropped = readVarint32(bytes, pos, end);
        else if (tag === 0x35) flags = source.view.getInt32(pos, true);
        pos = skipField(bytes, tag, pos, end);
        continue;
      }
      const length = longLength(bytes, pos, end);
      pos = varintEnd[0];
      if (tag === 0x0a) {
        traceAt = pos;
        traceLength = length;
      } else if (tag === 0x12) {
        spanAt = pos;
        spanLength = length;
      } else if (tag === 0x1a) {
        stateAt = pos;
        stateLength = length;
      } else if (tag === 0x22 && !this.attributes.add(source, pos, pos + length)) isGood = false;
      pos += length;
    }
    this.traceId.copyId(index, source, traceAt, traceLength);
    this.spanId.copyId(index, source, spanAt, spanLength);
    this.traceState.put(index, source, stateAt, stateLength);
    this.flags.putUint32(index, flags);
    this.attributes.endRow(index);
    this.dropped.putUint32(index, dropped);
    return isGood && isOptionalId(traceLength, 16) && isOptionalId(spanLength, 8);
  }
}
