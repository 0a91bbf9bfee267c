import { AttributesColumn } from '../native/attributes-column.js';
import type { ByteSink } from '../native/byte-sink.js';
import { DictionaryColumn } from '../native/dictionary-column.js';
import type { NamedColumn } from '../native/native-block.js';
import { FixedColumn, StringColumn } from '../native/native-columns.js';
import { judgeSpan } from '../otlp/item-rules.js';
import type { TimeBounds } from '../otlp/time-window.js';
import { longLength, notChecked, readVarint32, skipField, varintEnd } from '../otlp/wire.js';
import type { SignalTable } from './signal-table.js';
import { Events, Links } from './span-parts.js';

/** SpanKind and StatusCode; other numbers are stored as 0, "unspecified" and "unset". */
const MAX_KIND = 5;
const MAX_STATUS_CODE = 2;

/** Field numbers of Span. */
const TRACE_ID = 1;
const SPAN_ID = 2;
const TRACE_STATE = 3;
const PARENT_SPAN_ID = 4;
const NAME = 5;
const KIND = 6;
const START_TIME = 7;
const END_TIME = 8;
const ATTRIBUTES = 9;
const DROPPED_ATTRIBUTES = 10;
const EVENTS = 11;
const DROPPED_EVENTS = 12;
const LINKS = 13;
const DROPPED_LINKS = 14;
const STATUS = 15;
const FLAGS = 16;
const FIELDS = 17;

/** Rows of `telemetry_traces` from Span messages. */
export class TracesTable implements SignalTable {
  rows = 0;
  rejected = 0;
  readonly timestamp = new FixedColumn('DateTime64(9)', 8);
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
  /** By field number: where its value is, and how long it is or, for varints, the value itself. */
  private readonly at = new Int32Array(FIELDS);
  private readonly size = new Int32Array(FIELDS);
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
    const { at, size, attributes, events, links } = this;
    const isAccepted =
      this.read(source, pos, end) &&
      judgeSpan(
        source.view,
        at[TRACE_ID],
        size[TRACE_ID],
        at[SPAN_ID],
        size[SPAN_ID],
        size[PARENT_SPAN_ID],
        at[START_TIME],
        bounds,
      ) === 0;
    if (!isAccepted) {
      this.rejected++;
      attributes.rollback();
      events.group.dropRow();
      links.group.dropRow();
      return;
    }
    const row = this.rows++;
    this.putFields(row, source);
    attributes.endRow(row);
    attributes.mark();
    events.group.endRow(row);
    links.group.endRow(row);
  }

  /**
   * Notes where the fields of a span are and adds what it has lists of.
   *
   * @returns false when the span is to be rejected for one of the latter
   */
  private read(source: ByteSink, pos: number, end: number): boolean {
    const { bytes } = source;
    const { at, size, attributes } = this;
    let isGood = true;
    this.forget();
    while (pos < end) {
      let tag = bytes[pos++];
      if (tag > 0x7f) {
        tag = readVarint32(bytes, pos - 1, end);
        pos = varintEnd[0];
      }
      const number = tag >>> 3;
      const wireType = tag & 7;
      if (wireType === 2) {
        let length = bytes[pos++];
        if (length > 0x7f) {
          length = longLength(bytes, pos - 1, end);
          pos = varintEnd[0];
        }
        const next = pos + length;
        if (!(next <= end)) throw notChecked();
        if (number === ATTRIBUTES) {
          if (!attributes.add(source, pos, next)) isGood = false;
        } else if (number < ATTRIBUTES) {
          at[number] = pos;
          size[number] = length;
        } else if (!this.addPart(number, source, pos, next)) isGood = false;
        pos = next;
      } else if (wireType === 0) {
        let value = bytes[pos++];
        if (value > 0x7f) {
          value = readVarint32(bytes, pos - 1, end);
          pos = varintEnd[0];
        }
        if (number < FIELDS) size[number] = value;
      } else {
        if (number < FIELDS) at[number] = pos;
        pos = wireType === 1 ? pos + 8 : skipField(bytes, tag, pos, end);
      }
    }
    return isGood;
  }

  private forget(): void {
    const { at, size } = this;
    size[TRACE_ID] = 0;
    size[SPAN_ID] = 0;
    size[TRACE_STATE] = 0;
    size[PARENT_SPAN_ID] = 0;
    size[NAME] = 0;
    size[KIND] = 0;
    size[DROPPED_ATTRIBUTES] = 0;
    size[DROPPED_EVENTS] = 0;
    size[DROPPED_LINKS] = 0;
    at[START_TIME] = -1;
    at[END_TIME] = -1;
    at[FLAGS] = -1;
    this.code = 0;
    this.messageLength = 0;
  }

  private addPart(number: number, source: ByteSink, pos: number, end: number): boolean {
    switch (number) {
      case EVENTS:
        return this.events.add(source, pos, end);
      case LINKS:
        return this.links.add(source, pos, end);
      case STATUS:
        this.readStatus(source, pos, end);
        return true;
      default:
        return true;
    }
  }

  private putFields(row: number, source: ByteSink): void {
    const { at, size } = this;
    this.timestamp.copy64(row, source, at[START_TIME]);
    this.traceId.copyId(row, source, at[TRACE_ID], 16);
    this.spanId.copyId(row, source, at[SPAN_ID], 8);
    this.parentSpanId.copyId(row, source, at[PARENT_SPAN_ID], size[PARENT_SPAN_ID]);
    this.putDuration(row, source.view, at[START_TIME], at[END_TIME]);
    this.spanKind.putByte(row, size[KIND] >>> 0 > MAX_KIND ? 0 : size[KIND]);
    this.spanName.put(row, source, at[NAME], size[NAME]);
    if (at[FLAGS] >= 0) this.flags.putUint32(row, source.view.getInt32(at[FLAGS], true));
    this.putRare(row, source);
  }

  private putRare(row: number, source: ByteSink): void {
    const { at, size } = this;
    this.traceState.put(row, source, at[TRACE_STATE], size[TRACE_STATE]);
    this.statusCode.putByte(row, this.code > MAX_STATUS_CODE ? 0 : this.code);
    this.statusMessage.put(row, source, this.messageAt, this.messageLength);
    this.dropped.putUint32(row, size[DROPPED_ATTRIBUTES]);
    this.droppedEvents.putUint32(row, size[DROPPED_EVENTS]);
    this.droppedLinks.putUint32(row, size[DROPPED_LINKS]);
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
