import { ArrayGroup } from './array-columns.js';
import { AttributesColumn } from './attributes-column.js';
import type { ByteSink } from './byte-sink.js';
import { DictionaryColumn } from './dictionary-column.js';
import { isOptionalId, judgeSpan } from './item-rules.js';
import type { NamedColumn } from './native-block.js';
import { FixedColumn, StringColumn } from './native-columns.js';
import type { SignalTable } from './signal-table.js';
import type { TimeBounds } from './time-window.js';
import { longLength, notChecked, readVarint32, skipField, varintEnd } from './wire.js';

/** SpanKind and StatusCode; other numbers are stored as 0, "unspecified" and "unset". */
const MAX_KIND = 5;
const MAX_STATUS_CODE = 2;

/** Rows of `telemetry_traces` from Span messages. */
export class TracesTable implements SignalTable {
  rows = 0;
  rejected = 0;
  private readonly timestamp = new FixedColumn('DateTime64(9)', 8);
  private readonly traceId = new FixedColumn('FixedString(16)', 16);
  private readonly spanId = new FixedColumn('FixedString(8)', 8);
  private readonly parentSpanId = new FixedColumn('FixedString(8)', 8);
  private readonly traceState = new StringColumn();
  private readonly flags = new FixedColumn('UInt32', 4);
  private readonly spanName = new DictionaryColumn();
  private readonly spanKind = new FixedColumn('Int8', 1);
  private readonly durationNano = new FixedColumn('Int64', 8);
  private readonly statusCode = new FixedColumn('Int8', 1);
  private readonly statusMessage = new StringColumn();
  private readonly attributes = new AttributesColumn();
  private readonly dropped = new FixedColumn('UInt32', 4);
  private readonly events = new Events();
  private readonly droppedEvents = new FixedColumn('UInt32', 4);
  private readonly links = new Links();
  private readonly droppedLinks = new FixedColumn('UInt32', 4);
  /** What `readStatus` found. */
  private code = 0;
  private messageAt = 0;
  private messageLength = 0;

  readonly columns: NamedColumn[] = [
    { name: 'timestamp', column: this.timestamp },
    { name: 'trace_id', column: this.traceId },
    { name: 'span_id', column: this.spanId },
    { name: 'parent_span_id', column: this.parentSpanId },
    { name: 'trace_state', column: this.traceState },
    { name: 'flags', column: this.flags },
    { name: 'span_name', column: this.spanName },
    { name: 'span_kind', column: this.spanKind },
    { name: 'duration_nano', column: this.durationNano },
    { name: 'status_code', column: this.statusCode },
    { name: 'status_message', column: this.statusMessage },
    { name: 'attributes', column: this.attributes },
    { name: 'attribute_types', column: this.attributes.types },
    { name: 'dropped_attributes_count', column: this.dropped },
    ...this.events.columns,
    { name: 'dropped_events_count', column: this.droppedEvents },
    ...this.links.columns,
    { name: 'dropped_links_count', column: this.droppedLinks },
  ];

  countItems(): number {
    return 1;
  }

  /** Adds the Span message at [pos, end) as a row, unless it is to be rejected. */
  addItem(source: ByteSink, pos: number, end: number, bounds: TimeBounds): void {
    const { bytes, view } = source;
    const { attributes, events, links } = this;
    const row = this.rows;
    let isRejected = false;
    let traceAt = 0;
    let traceLength = 0;
    let spanAt = 0;
    let spanLength = 0;
    let parentAt = 0;
    let parentLength = 0;
    let stateAt = 0;
    let stateLength = 0;
    let nameAt = 0;
    let nameLength = 0;
    let startAt = -1;
    let endAt = -1;
    let flags = 0;
    let kind = 0;
    let dropped = 0;
    let droppedEvents = 0;
    let droppedLinks = 0;
    this.code = 0;
    this.messageLength = 0;
    while (pos < end) {
      let tag = bytes[pos++];
      if (tag > 0x7f) {
        tag = readVarint32(bytes, pos - 1, end);
        pos = varintEnd[0];
      }
      const wireType = tag & 7;
      if (wireType === 2) {
        let length = bytes[pos++];
        if (length > 0x7f) {
          length = longLength(bytes, pos - 1, end);
          pos = varintEnd[0];
        }
        const next = pos + length;
        if (!(next <= end)) throw notChecked();
        switch (tag >>> 3) {
          case 1:
            traceAt = pos;
            traceLength = length;
            break;
          case 2:
            spanAt = pos;
            spanLength = length;
            break;
          case 3:
            stateAt = pos;
            stateLength = length;
            break;
          case 4:
            parentAt = pos;
            parentLength = length;
            break;
          case 5:
            nameAt = pos;
            nameLength = length;
            break;
          case 9:
            if (!attributes.add(source, pos, next)) isRejected = true;
            break;
          case 11:
            if (!events.add(source, pos, next)) isRejected = true;
            break;
          case 13:
            if (!links.add(source, pos, next)) isRejected = true;
            break;
          case 15:
            this.readStatus(source, pos, next);
            break;
        }
        pos = next;
      } else if (wireType === 0) {
        let value = bytes[pos++];
        if (value > 0x7f) {
          value = readVarint32(bytes, pos - 1, end);
          pos = varintEnd[0];
        }
        switch (tag >>> 3) {
          case 6:
            kind = value;
            break;
          case 10:
            dropped = value;
            break;
          case 12:
            droppedEvents = value;
            break;
          case 14:
            droppedLinks = value;
            break;
        }
      } else if (wireType === 1) {
        if (tag >>> 3 === 7) startAt = pos;
        else if (tag >>> 3 === 8) endAt = pos;
        pos += 8;
      } else {
        if (tag >>> 3 === 16) flags = view.getInt32(pos, true);
        pos = skipField(bytes, tag, pos, end);
      }
    }
    if (
      isRejected ||
      judgeSpan(view, traceAt, traceLength, spanAt, spanLength, parentLength, startAt, bounds) !== 0
    ) {
      this.rejected++;
      attributes.rollback();
      events.group.dropRow();
      links.group.dropRow();
      return;
    }
    this.rows++;
    this.timestamp.copy64(row, source, startAt);
    this.traceId.copyId(row, source, traceAt, traceLength);
    this.spanId.copyId(row, source, spanAt, spanLength);
    this.parentSpanId.copyId(row, source, parentAt, parentLength);
    this.traceState.put(row, source, stateAt, stateLength);
    this.flags.putUint32(row, flags);
    this.spanName.put(row, source, nameAt, nameLength);
    this.spanKind.putByte(row, kind > MAX_KIND ? 0 : kind);
    this.putDuration(row, view, startAt, endAt);
    this.statusCode.putByte(row, this.code > MAX_STATUS_CODE ? 0 : this.code);
    this.statusMessage.put(row, source, this.messageAt, this.messageLength);
    attributes.endRow(row);
    attributes.mark();
    this.dropped.putUint32(row, dropped);
    events.group.endRow(row);
    this.droppedEvents.putUint32(row, droppedEvents);
    links.group.endRow(row);
    this.droppedLinks.putUint32(row, droppedLinks);
  }

  /** End minus start in 64 bits, so that start + duration gives the end back whatever it was. */
  private putDuration(row: number, view: DataView, startAt: number, endAt: number): void {
    const startLow = view.getUint32(startAt, true);
    const startHigh = view.getInt32(startAt + 4, true);
    const endLow = endAt < 0 ? 0 : view.getUint32(endAt, true);
    const endHigh = endAt < 0 ? 0 : view.getInt32(endAt + 4, true);
    const borrow = endLow < startLow ? 1 : 0;
    this.durationNano.put64(row, (endLow - startLow) | 0, (endHigh - startHigh - borrow) | 0);
  }

  private readStatus(source: ByteSink, pos: number, end: number): void {
    const { bytes } = source;
    this.code = 0;
    this.messageLength = 0;
    while (pos < end) {
      const tag = readVarint32(bytes, pos, end);
      pos = varintEnd[0];
      if (tag === 0x18) {
        this.code = readVarint32(bytes, pos, end);
        pos = varintEnd[0];
      } else if (tag === 0x12) {
        this.messageLength = longLength(bytes, pos, end);
        this.messageAt = varintEnd[0];
        pos = this.messageAt + this.messageLength;
      } else pos = skipField(bytes, tag, pos, end);
    }
  }

  reset(): void {
    this.rows = 0;
    this.rejected = 0;
    for (const { column } of this.columns) column.reset();
    this.events.group.reset();
    this.links.group.reset();
  }
}

/** The `events.*` columns. */
class Events {
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
class Links {
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
