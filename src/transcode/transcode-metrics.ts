import type { ArrayGroup } from '../native/array-columns.js';
import { AttributesColumn } from '../native/attributes-column.js';
import type { ByteSink } from '../native/byte-sink.js';
import type { NamedColumn } from '../native/native-block.js';
import { FixedColumn, NullableDoubleColumn } from '../native/native-columns.js';
import { isTimeAccepted } from '../otlp/item-rules.js';
import type { TimeBounds } from '../otlp/time-window.js';
import { longLength, notChecked, readVarint32, skipField, varintEnd } from '../otlp/wire.js';
import { BAD_ENTRY } from './contexts.js';
import { Exemplars, putValue } from './exemplars.js';
import { Buckets, NumberArray, Quantiles, zigzag } from './metric-arrays.js';
import { EXPONENTIAL_HISTOGRAM, HISTOGRAM, Metrics, SUMMARY } from './metric-entries.js';
import type { SignalTable } from './signal-table.js';

/** What a field of a data point is, whatever its number in the four kinds of points. */
enum Role {
  Unknown,
  // eight bytes, noted by position
  Start,
  Time,
  Double,
  Int,
  Count,
  Sum,
  Min,
  Max,
  ZeroCount,
  ZeroThreshold,
  // the others
  Flags,
  Scale,
  Attribute,
  Exemplar,
  BucketCounts,
  Bounds,
  Positive,
  Negative,
  Quantile,
}
const FIXED64_ROLES = Role.ZeroThreshold + 1;

const NUMBER_POINT = roles('- - Start Time Double Exemplar Int Attribute Flags');
const HISTOGRAM_POINT = roles(
  '- - Start Time Count Sum BucketCounts Bounds Exemplar Attribute Flags Min Max',
);
const EXPONENTIAL_POINT = roles(
  '- Attribute Start Time Count Sum Scale ZeroCount Positive Negative Flags Exemplar Min Max ZeroThreshold',
);
const SUMMARY_POINT = roles('- - Start Time Count Sum Quantile Attribute Flags');

/** @param names of roles, separated by spaces, in the order of the field numbers from 0 */
function roles(names: string): Uint8Array {
  const table = new Uint8Array(32);
  for (const [number, name] of names.split(' ').entries())
    table[number] = Role[name as keyof typeof Role] ?? 0;
  return table;
}

/** Rows of `telemetry_metrics`: one for every data point of the Metric messages. */
export class MetricsTable implements SignalTable {
  rows = 0;
  rejected = 0;
  private readonly metrics = new Metrics();
  readonly timestamp = new FixedColumn('DateTime64(9)', 8);
  private readonly startTimestamp = new FixedColumn('DateTime64(9)', 8);
  private readonly attributes = new AttributesColumn();
  private readonly flags = new FixedColumn('UInt32', 4);
  private readonly value = new FixedColumn('Float64', 8);
  private readonly valueInt = new FixedColumn('Int64', 8);
  private readonly valueType = new FixedColumn('Int8', 1);
  private readonly count = new FixedColumn('UInt64', 8);
  private readonly sum = new NullableDoubleColumn();
  private readonly min = new NullableDoubleColumn();
  private readonly max = new NullableDoubleColumn();
  private readonly bounds = new NumberArray('Float64');
  private readonly bucketCounts = new NumberArray('UInt64');
  private readonly scale = new FixedColumn('Int32', 4);
  private readonly zeroCount = new FixedColumn('UInt64', 8);
  private readonly zeroThreshold = new FixedColumn('Float64', 8);
  private readonly positive = new Buckets();
  private readonly negative = new Buckets();
  private readonly quantiles = new Quantiles();
  private readonly exemplars = new Exemplars();
  /** Where the eight bytes of a role are in the current point; -1: missing. */
  private readonly at = new Int32Array(FIXED64_ROLES);

  readonly columns: NamedColumn[] = [
    { name: 'timestamp', column: this.timestamp },
    { name: 'start_timestamp', column: this.startTimestamp },
    ...this.metrics.columns,
    { name: 'attributes', column: this.attributes },
    { name: 'attribute_types', column: this.attributes.types },
    { name: 'flags', column: this.flags },
    { name: 'value', column: this.value },
    { name: 'value_int', column: this.valueInt },
    { name: 'value_type', column: this.valueType },
    { name: 'count', column: this.count },
    { name: 'sum', column: this.sum },
    { name: 'min', column: this.min },
    { name: 'max', column: this.max },
    { name: 'explicit_bounds', column: this.bounds.column },
    { name: 'bucket_counts', column: this.bucketCounts.column },
    { name: 'scale', column: this.scale },
    { name: 'zero_count', column: this.zeroCount },
    { name: 'zero_threshold', column: this.zeroThreshold },
    { name: 'positive_offset', column: this.positive.offset },
    { name: 'positive_bucket_counts', column: this.positive.counts.column },
    { name: 'negative_offset', column: this.negative.offset },
    { name: 'negative_bucket_counts', column: this.negative.counts.column },
    ...this.quantiles.columns,
    ...this.exemplars.columns,
  ];
  private readonly groups: ArrayGroup[] = [
    this.bounds.group,
    this.bucketCounts.group,
    this.positive.counts.group,
    this.negative.counts.group,
    this.quantiles.group,
    this.exemplars.group,
  ];

  countItems(source: ByteSink, pos: number, end: number): number {
    this.metrics.read(source, pos, end);
    return this.metrics.data === 0 ? 0 : this.eachPoint(source, undefined);
  }

  /** Adds the data points of the Metric message at [pos, end) as rows, but for those to be rejected. */
  addItem(source: ByteSink, pos: number, end: number, bounds: TimeBounds): void {
    const { metrics } = this;
    metrics.read(source, pos, end);
    if (metrics.data === 0) return;
    const entry = metrics.find(source, pos, end);
    if (entry === BAD_ENTRY) {
      this.rejected += this.eachPoint(source, undefined);
      return;
    }
    const rowsBefore = this.rows;
    this.eachPoint(source, bounds);
    metrics.extend(entry, this.rows - rowsBefore);
  }

  /** Adds the points of the metric read last, or only counts them when there are no bounds. @returns how many */
  private eachPoint(source: ByteSink, bounds: TimeBounds | undefined): number {
    const { bytes } = source;
    const { data, dataAt, dataEnd } = this.metrics;
    let table = NUMBER_POINT;
    if (data === HISTOGRAM) table = HISTOGRAM_POINT;
    else if (data === EXPONENTIAL_HISTOGRAM) table = EXPONENTIAL_POINT;
    else if (data === SUMMARY) table = SUMMARY_POINT;
    let points = 0;
    for (let pos = dataAt; pos < dataEnd; ) {
      const tag = readVarint32(bytes, pos, dataEnd);
      pos = varintEnd[0];
      if (tag !== 0x0a) {
        pos = skipField(bytes, tag, pos, dataEnd);
        continue;
      }
      const length = longLength(bytes, pos, dataEnd);
      pos = varintEnd[0];
      if (bounds !== undefined) this.addPoint(source, pos, pos + length, table, bounds);
      points++;
      pos += length;
    }
    return points;
  }

  private addPoint(source: ByteSink, pos: number, end: number, table: Uint8Array, bounds: TimeBounds): void {
    const { bytes, view } = source;
    const { attributes, at } = this;
    let isRejected = false;
    let flags = 0;
    let scale = 0;
    for (let role = 0; role < FIXED64_ROLES; role++) at[role] = -1;
    if (table === EXPONENTIAL_POINT) {
      this.positive.begin();
      this.negative.begin();
    }
    while (pos < end) {
      const tag = bytes[pos++];
      if (tag > 0x7f) {
        const long = readVarint32(bytes, pos - 1, end);
        pos = skipField(bytes, long, varintEnd[0], end);
        continue;
      }
      const role = table[tag >>> 3];
      const wireType = tag & 7;
      if (wireType === 1) {
        if (role >= Role.BucketCounts) this.numbers(role).append(source, pos, 8);
        else if (role < FIXED64_ROLES) {
          at[role] = pos;
          if (role === Role.Double) at[Role.Int] = -1;
          else if (role === Role.Int) at[Role.Double] = -1;
        }
        pos += 8;
      } else if (wireType === 2) {
        let length = bytes[pos++];
        if (length > 0x7f) {
          length = longLength(bytes, pos - 1, end);
          pos = varintEnd[0];
        }
        const next = pos + length;
        if (!(next <= end)) throw notChecked();
        if (role === Role.Attribute) {
          if (!attributes.add(source, pos, next)) isRejected = true;
        } else if (role !== Role.Unknown && !this.addPart(role, source, pos, next)) isRejected = true;
        pos = next;
      } else {
        if (role === Role.Flags) flags = readVarint32(bytes, pos, end);
        else if (role === Role.Scale) scale = zigzag(readVarint32(bytes, pos, end));
        pos = skipField(bytes, tag, pos, end);
      }
    }
    if (isRejected || !isTimeAccepted(view, at[Role.Time], bounds)) {
      this.rejected++;
      attributes.rollback();
      for (const group of this.groups) group.dropRow();
      return;
    }
    this.putPoint(source, table, flags, scale);
  }

  /** Adds a length-delimited field that is not an attribute. @returns false when the point is to be rejected */
  private addPart(role: Role, source: ByteSink, pos: number, end: number): boolean {
    switch (role) {
      case Role.BucketCounts:
      case Role.Bounds:
        this.numbers(role).append(source, pos, end - pos);
        return true;
      case Role.Positive:
        this.positive.read(source, pos, end);
        return true;
      case Role.Negative:
        this.negative.read(source, pos, end);
        return true;
      case Role.Quantile:
        this.quantiles.add(source, pos, end);
        return true;
      case Role.Exemplar:
        return this.exemplars.add(source, pos, end);
      default:
        return true;
    }
  }

  private numbers(role: Role): NumberArray {
    return role === Role.Bounds ? this.bounds : this.bucketCounts;
  }

  private putPoint(source: ByteSink, table: Uint8Array, flags: number, scale: number): void {
    const { at, attributes } = this;
    const row = this.rows++;
    this.timestamp.copy64(row, source, at[Role.Time]);
    this.startTimestamp.copy64(row, source, at[Role.Start]);
    attributes.endRow(row);
    attributes.mark();
    this.flags.putUint32(row, flags);
    if (table === NUMBER_POINT) {
      putValue(row, source, at[Role.Double], at[Role.Int], this.value, this.valueInt, this.valueType);
      this.exemplars.group.endRow(row);
      return;
    }
    this.count.copy64(row, source, at[Role.Count]);
    this.sum.copy(row, source, at[Role.Sum]);
    // A summary's sum is not optional: left out it is 0, not unknown.
    if (table === SUMMARY_POINT && at[Role.Sum] < 0) this.sum.putZero(row);
    this.min.copy(row, source, at[Role.Min]);
    this.max.copy(row, source, at[Role.Max]);
    this.scale.putUint32(row, scale);
    this.zeroCount.copy64(row, source, at[Role.ZeroCount]);
    this.zeroThreshold.copy64(row, source, at[Role.ZeroThreshold]);
    if (table === EXPONENTIAL_POINT) {
      this.positive.endRow(row);
      this.negative.endRow(row);
    }
    for (const group of this.groups) group.endRow(row);
  }

  reset(): void {
    this.rows = 0;
    this.rejected = 0;
    this.metrics.reset();
    for (const { column } of this.columns) column.reset();
    for (const group of this.groups) group.reset();
  }
}
