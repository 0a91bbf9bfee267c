import type { ByteSink } from '../native/byte-sink.js';
import type { NamedColumn } from '../native/native-block.js';
import { RunAttributes, RunNumber, RunText } from '../native/run-columns.js';
import { longLength, readVarint32, readVarint64, skipField, varint64, varintEnd } from '../otlp/wire.js';
import { BAD_ENTRY, Entries } from './contexts.js';

/** Field numbers of the oneof `data` of a Metric; the stored `metric_type` is the position in METRIC_TYPES. */
export const GAUGE = 5;
export const SUM = 7;
export const HISTOGRAM = 9;
export const EXPONENTIAL_HISTOGRAM = 10;
export const SUMMARY = 11;
const METRIC_TYPES = [0, GAUGE, SUM, HISTOGRAM, EXPONENTIAL_HISTOGRAM, SUMMARY];
const MAX_TEMPORALITY = 2;

function isData(number: number): boolean {
  return METRIC_TYPES.includes(number) && number !== 0;
}

/**
 * The columns of a metric itself (name, unit, type, ...): an entry is a Metric message without its points. `read`
 * finds the parts of a message, `find` the entry for them.
 */
export class Metrics {
  readonly entries = new Entries();
  private readonly metricName = new RunText(this.entries.runs);
  private readonly metricType = new RunNumber(this.entries.runs, 'Int8');
  private readonly unit = new RunText(this.entries.runs);
  private readonly description = new RunText(this.entries.runs);
  private readonly metadata = new RunAttributes(this.entries.runs);
  private readonly temporality = new RunNumber(this.entries.runs, 'Int8');
  private readonly isMonotonic = new RunNumber(this.entries.runs, 'Bool');
  readonly columns: NamedColumn[] = [
    { name: 'metric_name', column: this.metricName },
    { name: 'metric_type', column: this.metricType },
    { name: 'unit', column: this.unit },
    { name: 'description', column: this.description },
    { name: 'metric_metadata', column: this.metadata },
    { name: 'metric_metadata_types', column: this.metadata.types },
    { name: 'aggregation_temporality', column: this.temporality },
    { name: 'is_monotonic', column: this.isMonotonic },
  ];
  /** Field number of the data that is set (0: none) and where that message is. */
  data = 0;
  dataAt = 0;
  dataEnd = 0;
  private nameAt = 0;
  private nameEnd = 0;
  private descriptionAt = 0;
  private descriptionEnd = 0;
  private unitAt = 0;
  private unitEnd = 0;
  private hasMetadata = false;
  private aggregation = 0;
  private monotonic = 0;

  /** Finds the parts of the Metric message at [pos, end). Of several data fields the last counts. */
  read(source: ByteSink, pos: number, end: number): void {
    const { bytes } = source;
    this.data = 0;
    this.hasMetadata = false;
    this.nameAt = this.nameEnd = this.descriptionAt = this.descriptionEnd = this.unitAt = this.unitEnd = pos;
    while (pos < end) {
      const tag = readVarint32(bytes, pos, end);
      pos = varintEnd[0];
      if ((tag & 7) !== 2) {
        pos = skipField(bytes, tag, pos, end);
        continue;
      }
      const length = longLength(bytes, pos, end);
      pos = varintEnd[0];
      const next = pos + length;
      if (tag === 0x0a) {
        this.nameAt = pos;
        this.nameEnd = next;
      } else if (tag === 0x12) {
        this.descriptionAt = pos;
        this.descriptionEnd = next;
      } else if (tag === 0x1a) {
        this.unitAt = pos;
        this.unitEnd = next;
      } else if (isData(tag >>> 3)) {
        this.data = tag >>> 3;
        this.dataAt = pos;
        this.dataEnd = next;
      } else if (tag === 0x62) this.hasMetadata = true;
      pos = next;
    }
  }

  /** The entry of the Metric message at [pos, end) that was `read` last, or BAD_ENTRY. */
  find(source: ByteSink, pos: number, end: number): number {
    const { entries } = this;
    this.readData(source);
    const { identity } = entries;
    entries.identify(source, this.nameAt, this.nameEnd);
    entries.identify(source, this.descriptionAt, this.descriptionEnd);
    entries.identify(source, this.unitAt, this.unitEnd);
    identity.appendByte(this.data);
    identity.appendByte(this.aggregation);
    identity.appendByte(this.monotonic);
    if (this.hasMetadata) {
      this.eachMetadata(source, pos, end, (at, until) => {
        entries.identify(source, at, until);
        return true;
      });
    }
    const count = entries.count;
    const entry = entries.find();
    if (entry === count) this.encode(entry, source, pos, end);
    return entries.isBad(entry) ? BAD_ENTRY : entry;
  }

  private readData(source: ByteSink): void {
    const { bytes } = source;
    const { data, dataEnd } = this;
    this.aggregation = 0;
    this.monotonic = 0;
    if (data === GAUGE || data === SUMMARY || data === 0) return;
    for (let pos = this.dataAt; pos < dataEnd; ) {
      const tag = readVarint32(bytes, pos, dataEnd);
      pos = varintEnd[0];
      if (tag === 0x10) {
        const value = readVarint32(bytes, pos, dataEnd);
        this.aggregation = value > MAX_TEMPORALITY ? 0 : value;
      } else if (tag === 0x18 && data === SUM) {
        readVarint64(bytes, pos, dataEnd);
        this.monotonic = (varint64[0] | varint64[1]) === 0 ? 0 : 1;
      }
      pos = skipField(bytes, tag, pos, dataEnd);
    }
  }

  private encode(entry: number, source: ByteSink, pos: number, end: number): void {
    this.metricName.set(entry, source, this.nameAt, this.nameEnd - this.nameAt);
    this.description.set(entry, source, this.descriptionAt, this.descriptionEnd - this.descriptionAt);
    this.unit.set(entry, source, this.unitAt, this.unitEnd - this.unitAt);
    this.metricType.set(entry, METRIC_TYPES.indexOf(this.data));
    this.temporality.set(entry, this.aggregation);
    this.isMonotonic.set(entry, this.monotonic);
    const isShallow = this.eachMetadata(source, pos, end, (at, until) =>
      this.metadata.add(source, at, until),
    );
    if (!isShallow) this.entries.condemn(entry);
    this.metadata.endEntry(entry);
  }

  private eachMetadata(
    source: ByteSink,
    pos: number,
    end: number,
    visit: (at: number, until: number) => boolean,
  ): boolean {
    const { bytes } = source;
    let isShallow = true;
    while (pos < end) {
      const tag = readVarint32(bytes, pos, end);
      pos = varintEnd[0];
      const begin = pos;
      pos = skipField(bytes, tag, pos, end);
      if (tag !== 0x62) continue;
      const length = longLength(bytes, begin, end);
      if (!visit(varintEnd[0], varintEnd[0] + length)) isShallow = false;
    }
    return isShallow;
  }

  /** The next `rows` rows have this entry. */
  extend(entry: number, rows: number): void {
    if (rows === 0) return;
    this.entries.runs.extend(entry, rows);
    this.metadata.noteRows(entry, rows);
  }

  reset(): void {
    this.entries.reset();
    for (const { column } of this.columns) column.reset();
  }
}
