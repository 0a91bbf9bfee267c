import { appendAnyValue } from '../native/any-value.js';
import { AttributesColumn } from '../native/attributes-column.js';
import { ByteSink } from '../native/byte-sink.js';
import { DictionaryColumn } from '../native/dictionary-column.js';
import type { NamedColumn } from '../native/native-block.js';
import { FixedColumn, StringColumn } from '../native/native-columns.js';
import { FROM_OBSERVED, FROM_RECEIVED, judgeLog, logTimeSource } from '../otlp/item-rules.js';
import type { TimeBounds } from '../otlp/time-window.js';
import { longLength, notChecked, readVarint32, skipField, varintEnd } from '../otlp/wire.js';
import type { SignalTable } from './signal-table.js';

/** Field numbers of LogRecord. */
const TIME = 1;
const SEVERITY_NUMBER = 2;
const SEVERITY_TEXT = 3;
const BODY = 5;
const ATTRIBUTES = 6;
const DROPPED_ATTRIBUTES = 7;
const FLAGS = 8;
const TRACE_ID = 9;
const SPAN_ID = 10;
const OBSERVED_TIME = 11;
const EVENT_NAME = 12;
const FIELDS = 13;

/** Rows of `telemetry_logs` from LogRecord messages. */
export class LogsTable implements SignalTable {
  rows = 0;
  rejected = 0;
  readonly timestamp = new FixedColumn('DateTime64(9)', 8);
  private readonly timestampSource = new FixedColumn('Int8', 1);
  private readonly observed = new FixedColumn('DateTime64(9)', 8);
  private readonly traceId = new FixedColumn('FixedString(16)', 16);
  private readonly spanId = new FixedColumn('FixedString(8)', 8);
  private readonly flags = new FixedColumn('UInt32', 4);
  private readonly severityNumber = new FixedColumn('Int32', 4);
  private readonly severityText = new DictionaryColumn();
  private readonly eventName = new DictionaryColumn();
  private readonly body = new StringColumn();
  private readonly bodyType = new DictionaryColumn();
  private readonly attributes = new AttributesColumn();
  private readonly dropped = new FixedColumn('UInt32', 4);
  /** By field number: where its value is, and how long it is or, for varints, the value itself. */
  private readonly at = new Int32Array(FIELDS);
  private readonly size = new Int32Array(FIELDS);
  /** The body of the current record as text, and its signature. */
  private readonly text = new ByteSink();
  private readonly signature = new ByteSink();

  readonly columns: NamedColumn[] = [
    { name: 'timestamp', column: this.timestamp },
    { name: 'timestamp_source', column: this.timestampSource },
    { name: 'observed_timestamp', column: this.observed },
    { name: 'trace_id', column: this.traceId },
    { name: 'span_id', column: this.spanId },
    { name: 'flags', column: this.flags },
    { name: 'severity_number', column: this.severityNumber },
    { name: 'severity_text', column: this.severityText },
    { name: 'event_name', column: this.eventName },
    { name: 'body', column: this.body },
    { name: 'body_type', column: this.bodyType },
    { name: 'attributes', column: this.attributes },
    { name: 'attribute_types', column: this.attributes.types },
    { name: 'dropped_attributes_count', column: this.dropped },
  ];

  countItems(): number {
    return 1;
  }

  /** Adds the LogRecord message at [pos, end) as a row, unless it is to be rejected. */
  addItem(source: ByteSink, pos: number, end: number, bounds: TimeBounds): void {
    const { at, size, attributes } = this;
    const isAccepted =
      this.read(source, pos, end) &&
      judgeLog(source.view, size[TRACE_ID], size[SPAN_ID], at[TIME], at[OBSERVED_TIME], bounds) === 0;
    if (!isAccepted) {
      this.rejected++;
      attributes.rollback();
      return;
    }
    const row = this.rows++;
    this.putTimes(row, source, bounds);
    this.putFields(row, source);
    attributes.endRow(row);
    attributes.mark();
  }

  /**
   * Notes where the fields of a record are; its attributes are added and its body is turned into text at once.
   *
   * @returns false when one of the latter is nested too deeply
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
        } else if (number === BODY) {
          if (!this.readBody(source, pos, next)) isGood = false;
        } else if (number < FIELDS) {
          at[number] = pos;
          size[number] = length;
        }
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
    at[TIME] = -1;
    at[OBSERVED_TIME] = -1;
    at[FLAGS] = -1;
    size[SEVERITY_NUMBER] = 0;
    size[SEVERITY_TEXT] = 0;
    size[DROPPED_ATTRIBUTES] = 0;
    size[TRACE_ID] = 0;
    size[SPAN_ID] = 0;
    size[EVENT_NAME] = 0;
    this.text.length = 0;
    this.signature.length = 0;
  }

  private readBody(source: ByteSink, pos: number, end: number): boolean {
    this.text.length = 0;
    this.signature.length = 0;
    return appendAnyValue(source, pos, end, this.text, this.signature);
  }

  private putTimes(row: number, source: ByteSink, bounds: TimeBounds): void {
    const { at } = this;
    const from = logTimeSource(source.view, at[TIME], at[OBSERVED_TIME]);
    if (from === FROM_RECEIVED) this.timestamp.put64(row, bounds.receivedLow, bounds.receivedHigh);
    else this.timestamp.copy64(row, source, from === FROM_OBSERVED ? at[OBSERVED_TIME] : at[TIME]);
    this.timestampSource.putByte(row, from);
    this.observed.copy64(row, source, at[OBSERVED_TIME]);
  }

  private putFields(row: number, source: ByteSink): void {
    const { at, size } = this;
    this.traceId.copyId(row, source, at[TRACE_ID], size[TRACE_ID]);
    this.spanId.copyId(row, source, at[SPAN_ID], size[SPAN_ID]);
    if (at[FLAGS] >= 0) this.flags.putUint32(row, source.view.getInt32(at[FLAGS], true));
    this.severityNumber.putUint32(row, size[SEVERITY_NUMBER]);
    this.severityText.put(row, source, at[SEVERITY_TEXT], size[SEVERITY_TEXT]);
    this.eventName.put(row, source, at[EVENT_NAME], size[EVENT_NAME]);
    this.body.putEncoded(row, this.text);
    this.bodyType.put(row, this.signature, 0, this.signature.length);
    this.dropped.putUint32(row, size[DROPPED_ATTRIBUTES]);
  }

  reset(): void {
    this.rows = 0;
    this.rejected = 0;
    for (const { column } of this.columns) column.reset();
  }
}
