import { ByteSink } from '../native/byte-sink.js';
import { Dictionary } from '../native/dictionary.js';
import type { NamedColumn } from '../native/native-block.js';
import { RunAttributes, RunNumber, Runs, RunText } from '../native/run-columns.js';
import { longLength, readVarint32, skipField, varintEnd } from '../otlp/wire.js';

/** An entry that cannot be used: a value in it is nested too deeply. */
export const BAD_ENTRY = -1;

/**
 * The distinct resources (or scopes, or metrics) of a batch, found again by their bytes, so that each is encoded
 * once however many bodies carry it.
 */
export class Entries {
  readonly runs = new Runs();
  /** What identifies an entry: put together here before `find`. */
  readonly identity = new ByteSink();
  private readonly known = new Dictionary(true);
  private bad = new Set<number>();

  /** Adds [pos, end) to the identity, with its length, so that parts cannot be confused. */
  identify(source: ByteSink, pos: number, end: number): void {
    this.identity.appendVarint(end - pos);
    this.identity.appendBytes(source, pos, end - pos);
  }

  /** The number of the entry with this identity, 0 and up; equal to what `count` was before when it is new. */
  find(): number {
    const entry = this.known.find(this.identity, 0, this.identity.length, 0) - 1;
    this.identity.length = 0;
    return entry;
  }

  get count(): number {
    return this.known.count - 1;
  }

  condemn(entry: number): void {
    this.bad.add(entry);
  }

  isBad(entry: number): boolean {
    return this.bad.size > 0 && this.bad.has(entry);
  }

  reset(): void {
    this.runs.reset();
    this.known.reset();
    this.bad.clear();
    this.identity.length = 0;
  }
}

const SERVICE_NAME = new ByteSink();
SERVICE_NAME.wrap(Buffer.from('service.name'));

/** Columns of the resource; an entry is a Resource message with its schema URL. */
export class Resources {
  readonly entries = new Entries();
  private readonly serviceName = new RunText(this.entries.runs);
  private readonly attributes = new RunAttributes(this.entries.runs);
  private readonly dropped = new RunNumber(this.entries.runs, 'UInt32');
  private readonly schemaUrl = new RunText(this.entries.runs);
  readonly columns: NamedColumn[] = [
    { name: 'service_name', column: this.serviceName },
    { name: 'resource_attributes', column: this.attributes },
    { name: 'resource_attribute_types', column: this.attributes.types },
    { name: 'resource_dropped_attributes_count', column: this.dropped },
    { name: 'resource_schema_url', column: this.schemaUrl },
  ];

  /**
   * The entry for the Resource message at [pos, end) and the schema URL at [urlAt, urlEnd); empty ranges where the
   * fields are missing.
   *
   * @returns the entry, or BAD_ENTRY
   */
  find(source: ByteSink, pos: number, end: number, urlAt: number, urlEnd: number): number {
    const { entries } = this;
    entries.identify(source, pos, end);
    entries.identify(source, urlAt, urlEnd);
    const count = entries.count;
    const entry = entries.find();
    if (entry === count) this.encode(entry, source, pos, end, urlAt, urlEnd);
    return entries.isBad(entry) ? BAD_ENTRY : entry;
  }

  private encode(
    entry: number,
    source: ByteSink,
    pos: number,
    end: number,
    urlAt: number,
    urlEnd: number,
  ): void {
    const { bytes } = source;
    let dropped = 0;
    while (pos < end) {
      const tag = readVarint32(bytes, pos, end);
      pos = varintEnd[0];
      if (tag === 0x0a) {
        const length = longLength(bytes, pos, end);
        pos = varintEnd[0];
        if (!this.attributes.add(source, pos, pos + length)) this.entries.condemn(entry);
        pos += length;
      } else if (tag === 0x10) {
        dropped = readVarint32(bytes, pos, end);
        pos = varintEnd[0];
      } else pos = skipField(bytes, tag, pos, end);
    }
    this.attributes.endEntry(entry);
    this.attributes.copyValue(entry, SERVICE_NAME, this.serviceName);
    this.dropped.set(entry, dropped);
    this.schemaUrl.set(entry, source, urlAt, urlEnd - urlAt);
  }

  /** The next `rows` rows have this entry. */
  extend(entry: number, rows: number): void {
    if (rows === 0) return;
    this.entries.runs.extend(entry, rows);
    this.attributes.noteRows(entry, rows);
  }

  reset(): void {
    this.entries.reset();
    for (const { column } of this.columns) column.reset();
  }
}

/** Columns of the instrumentation scope; an entry is an InstrumentationScope message with its schema URL. */
export class Scopes {
  readonly entries = new Entries();
  private readonly scopeName = new RunText(this.entries.runs);
  private readonly version = new RunText(this.entries.runs);
  private readonly attributes = new RunAttributes(this.entries.runs);
  private readonly dropped = new RunNumber(this.entries.runs, 'UInt32');
  private readonly schemaUrl = new RunText(this.entries.runs);
  readonly columns: NamedColumn[] = [
    { name: 'scope_name', column: this.scopeName },
    { name: 'scope_version', column: this.version },
    { name: 'scope_attributes', column: this.attributes },
    { name: 'scope_attribute_types', column: this.attributes.types },
    { name: 'scope_dropped_attributes_count', column: this.dropped },
    { name: 'scope_schema_url', column: this.schemaUrl },
  ];

  /** As {@link Resources.find}. */
  find(source: ByteSink, pos: number, end: number, urlAt: number, urlEnd: number): number {
    const { entries } = this;
    entries.identify(source, pos, end);
    entries.identify(source, urlAt, urlEnd);
    const count = entries.count;
    const entry = entries.find();
    if (entry === count) this.encode(entry, source, pos, end, urlAt, urlEnd);
    return entries.isBad(entry) ? BAD_ENTRY : entry;
  }

  private encode(
    entry: number,
    source: ByteSink,
    pos: number,
    end: number,
    urlAt: number,
    urlEnd: number,
  ): void {
    const { bytes } = source;
    let dropped = 0;
    let nameAt = pos;
    let nameEnd = pos;
    let versionAt = pos;
    let versionEnd = pos;
    while (pos < end) {
      const tag = readVarint32(bytes, pos, end);
      pos = varintEnd[0];
      if (tag === 0x20) {
        dropped = readVarint32(bytes, pos, end);
        pos = varintEnd[0];
        continue;
      }
      if (tag !== 0x0a && tag !== 0x12 && tag !== 0x1a) {
        pos = skipField(bytes, tag, pos, end);
        continue;
      }
      const length = longLength(bytes, pos, end);
      const begin = varintEnd[0];
      pos = begin + length;
      if (tag === 0x0a) {
        nameAt = begin;
        nameEnd = pos;
      } else if (tag === 0x12) {
        versionAt = begin;
        versionEnd = pos;
      } else if (!this.attributes.add(source, begin, pos)) this.entries.condemn(entry);
    }
    this.attributes.endEntry(entry);
    this.scopeName.set(entry, source, nameAt, nameEnd - nameAt);
    this.version.set(entry, source, versionAt, versionEnd - versionAt);
    this.dropped.set(entry, dropped);
    this.schemaUrl.set(entry, source, urlAt, urlEnd - urlAt);
  }

  /** The next `rows` rows have this entry. */
  extend(entry: number, rows: number): void {
    if (rows === 0) return;
    this.entries.runs.extend(entry, rows);
    this.attributes.noteRows(entry, rows);
  }

  reset(): void {
    this.entries.reset();
    for (const { column } of this.columns) column.reset();
  }
}
