import { ArrayGroup } from '../native/array-columns.js';
import { AttributesColumn } from '../native/attributes-column.js';
import type { ByteSink } from '../native/byte-sink.js';
import type { NamedColumn } from '../native/native-block.js';
import { FixedColumn } from '../native/native-columns.js';
import { isOptionalId } from '../otlp/item-rules.js';
import { longLength, readVarint32, skipField, varintEnd } from '../otlp/wire.js';

/** Numbers of the columns `value_type`; 0 is none. */
const DOUBLE_VALUE = 1;
const INT_VALUE = 2;

/**
 * A number that is a double or an integer, over three columns: as a double (rounded when it is an integer beyond
 * 2^53), as an integer, and which of the two it is.
 *
 * @param doubleAt where the double is, or -1
 * @param intAt where the integer is, or -1; at most one of them is set
 */
export function putValue(
  row: number,
  source: ByteSink,
  doubleAt: number,
  intAt: number,
  value: FixedColumn,
  valueInt: FixedColumn,
  valueType: FixedColumn,
): void {
  if (doubleAt >= 0) {
    value.copy64(row, source, doubleAt);
    valueType.putByte(row, DOUBLE_VALUE);
  } else if (intAt >= 0) {
    const { view } = source;
    value.putDouble(row, view.getInt32(intAt + 4, true) * 4294967296 + view.getUint32(intAt, true));
    valueInt.copy64(row, source, intAt);
    valueType.putByte(row, INT_VALUE);
  }
}

/** The `exemplars.*` columns. */
export class Exemplars {
  readonly group = new ArrayGroup();
  private readonly timestamp = new FixedColumn('DateTime64(9)', 8);
  private readonly value = new FixedColumn('Float64', 8);
  private readonly valueInt = new FixedColumn('Int64', 8);
  private readonly valueType = new FixedColumn('Int8', 1);
  private readonly traceId = new FixedColumn('FixedString(16)', 16);
  private readonly spanId = new FixedColumn('FixedString(8)', 8);
  private readonly attributes = new AttributesColumn();
  readonly columns: NamedColumn[] = [
    { name: 'exemplars.timestamp', column: this.group.column(this.timestamp) },
    { name: 'exemplars.value', column: this.group.column(this.value) },
    { name: 'exemplars.value_int', column: this.group.column(this.valueInt) },
    { name: 'exemplars.value_type', column: this.group.column(this.valueType) },
    { name: 'exemplars.trace_id', column: this.group.column(this.traceId) },
    { name: 'exemplars.span_id', column: this.group.column(this.spanId) },
    { name: 'exemplars.attributes', column: this.group.column(this.attributes) },
    { name: 'exemplars.attribute_types', column: this.group.column(this.attributes.types) },
  ];

  /** Adds the Exemplar message at [pos, end). @returns false when its data point is to be rejected for it */
  add(source: ByteSink, pos: number, end: number): boolean {
    const { bytes } = source;
    const index = this.group.count++;
    let isGood = true;
    let timeAt = -1;
    let doubleAt = -1;
    let intAt = -1;
    let traceAt = pos;
    let traceLength = 0;
    let spanAt = pos;
    let spanLength = 0;
    while (pos < end) {
      const tag = readVarint32(bytes, pos, end);
      pos = varintEnd[0];
      if ((tag & 7) !== 2) {
        if (tag === 0x11) timeAt = pos;
        else if (tag === 0x19) {
          doubleAt = pos;
          intAt = -1;
        } else if (tag === 0x31) {
          intAt = pos;
          doubleAt = -1;
        }
        pos = skipField(bytes, tag, pos, end);
        continue;
      }
      const length = longLength(bytes, pos, end);
      pos = varintEnd[0];
      if (tag === 0x2a) {
        traceAt = pos;
        traceLength = length;
      } else if (tag === 0x22) {
        spanAt = pos;
        spanLength = length;
      } else if (tag === 0x3a && !this.attributes.add(source, pos, pos + length)) isGood = false;
      pos += length;
    }
    this.timestamp.copy64(index, source, timeAt);
    putValue(index, source, doubleAt, intAt, this.value, this.valueInt, this.valueType);
    this.traceId.copyId(index, source, traceAt, traceLength);
    this.spanId.copyId(index, source, spanAt, spanLength);
    this.attributes.endRow(index);
    return isGood && isOptionalId(traceLength, 16) && isOptionalId(spanLength, 8);
  }
}
