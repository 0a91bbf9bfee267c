import { appendAnyValue } from './any-value.js';
import { AttributesColumn } from './attributes-column.js';
import { ByteSink } from './byte-sink.js';
import { DictionaryColumn } from './dictionary-column.js';
import { FROM_OBSERVED, FROM_RECEIVED, judgeLog, logTimeSource } from './item-rules.js';
import type { NamedColumn } from './native-block.js';
import { FixedColumn, StringColumn } from './native-columns.js';
import type { SignalTable } from './signal-table.js';
import type { TimeBounds } from './time-window.js';
import { longLength, notChecked, readVarint32, skipField, varintEnd } from './wire.js';

/** Rows of `telemetry_logs` from LogRecord messages. */
export class LogsTable implements SignalTable {
  rows = 0;
  rejected = 0;
  private readonly timestamp = new FixedColumn('DateTime64(9)', 8);
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
    const { bytes, view } = source;
    const { attributes, text, signature } = this;
    const row = this.rows;
    let isRejected = false;
    let traceAt = 0;
    let traceLength = 0;
    let spanAt = 0;
    let spanLength = 0;
    let severityAt = 0;
    let severityLength = 0;
    let eventAt = 0;
    let eventLength = 0;
    let timeAt = -1;
    let observedAt = -1;
    let flags = 0;
    let severity = 0;
    let dropped = 0;
    text.length = 0;
    signature.length = 0;
    while (pos < end) {
      const tag = bytes[pos++];
      const wireType = tag & 7;
      if (wireType === 2 && tag < 0x80) {
        let length = bytes[pos++];
        if (length > 0x7f) {
          length = longLength(bytes, pos - 1, end);
          pos = varintEnd[0];
        }
        const next = pos + length;
        if (!(next <= end)) throw notChecked();
        switch (tag >>> 3) {
          case 3:
            severityAt = pos;
            severityLength = length;
            break;
          case 5:
            text.length = 0;
            signature.length = 0;
            if (!appendAnyValue(source, pos, next, text, signature)) isRejected = true;
            break;
          case 6:
            if (!attributes.add(source, pos, next)) isRejected = true;
            break;
          case 9:
            traceAt = pos;
            traceLength = length;
            break;
          case 10:
            spanAt = pos;
            spanLength = length;
            break;
          case 12:
            eventAt = pos;
            eventLength = length;
            break;
        }
        pos = next;
      } else if (wireType === 1 && tag < 0x80) {
        if (tag >>> 3 === 1) timeAt = pos;
        else if (tag >>> 3 === 11) observedAt = pos;
        pos += 8;
      } else {
        const number = readVarint32(bytes, pos - 1, end);
        pos = varintEnd[0];
        if (number === 0x10) severity = readVarint32(bytes, pos, end);
        else if (number === 0x38) dropped = readVarint32(bytes, pos, end);
        else if (number === 0x45) flags = view.getInt32(pos, true);
        pos = skipField(bytes, number, pos, end);
      }
    }
    if (isRejected || judgeLog(view, traceLength, spanLength, timeAt, observedAt, bounds) !== 0) {
      this.rejected++;
      attributes.rollback();
      return;
    }
    this.rows++;
    const timeSource = logTimeSource(view, timeAt, observedAt);
    if (timeSource === FROM_RECEIVED) this.timestamp.put64(row, bounds.receivedLow, bounds.receivedHigh);
    else this.timestamp.copy64(row, source, timeSource === FROM_OBSERVED ? observedAt : timeAt);
    this.timestampSource.putByte(row, timeSource);
    this.observed.copy64(row, source, observedAt);
    this.traceId.copyId(row, source, traceAt, traceLength);
    this.spanId.copyId(row, source, spanAt, spanLength);
    this.flags.putUint32(row, flags);
    this.severityNumber.putUint32(row, severity);
    this.severityText.put(row, source, severityAt, severityLength);
    this.eventName.put(row, source, eventAt, eventLength);
    this.body.putEncoded(row, text);
    this.bodyType.put(row, signature, 0, signature.length);
    attributes.endRow(row);
    attributes.mark();
    this.dropped.putUint32(row, dropped);
  }

  reset(): void {
    this.rows = 0;
    this.rejected = 0;
    for (const { column } of this.columns) column.reset();
  }
}
