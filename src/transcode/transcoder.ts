import { AppError } from '../errors.js';
import { ByteSink } from '../native/byte-sink.js';
import { buildBlock, type NamedColumn, type NativeBlock } from '../native/native-block.js';
import { TimeBounds, type TimeWindow } from '../otlp/time-window.js';
import { longLength, readVarint32, skipField, skipRun, varintEnd } from '../otlp/wire.js';
import type { Signal } from '../signal.js';
import { BAD_ENTRY, Resources, Scopes } from './contexts.js';
import type { SignalTable } from './signal-table.js';
import { LogsTable } from './transcode-logs.js';
import { MetricsTable } from './transcode-metrics.js';
import { TracesTable } from './transcode-traces.js';

export type { NativeBlock };

/**
 * Turns OTLP bodies of one signal into one block of ClickHouse's Native format: a cursor walks over the protobuf
 * bytes and appends to one growing buffer per column, without an object or string per item.
 *
 * The same bodies and windows give the same bytes.
 */
export class Transcoder {
  private readonly table: SignalTable;
  private readonly resources = new Resources();
  private readonly scopes = new Scopes();
  private readonly columns: NamedColumn[];
  private readonly bounds = new TimeBounds();
  private readonly source = new ByteSink(0);

  constructor(readonly signal: Signal) {
    this.table = createTable(signal);
    this.columns = [...this.table.columns, ...this.resources.columns, ...this.scopes.columns];
  }

  /** Rows so far. */
  get rows(): number {
    return this.table.rows;
  }

  /** Bytes of memory the rows so far take in their columns; the block will have about as many. */
  get byteLength(): number {
    let bytes = 0;
    for (const { column } of this.columns) bytes += column.byteLength;
    return bytes;
  }

  /**
   * Adds the items of a body that `checkBody` accepted; the ones it counts as rejected are left out.
   *
   * @param window the one the body was checked with
   * @throws AppError MALFORMED_BODY for a body that was not checked; the transcoder is then empty
   */
  add(body: Uint8Array, window: TimeWindow): void {
    this.bounds.set(window);
    this.source.wrap(body);
    try {
      this.addBody(body.length);
    } catch (error) {
      this.reset();
      if (!(error instanceof RangeError)) throw error;
      throw new AppError('MALFORMED_BODY', 'Not an OTLP protobuf message', { cause: error });
    } finally {
      this.source.wrap(NOTHING);
    }
  }

  /**
   * The earliest and the latest time of the rows so far, Unix milliseconds, each by up to 1 ms too wide, and the hours that they lie in
   * (their first milliseconds, exact); undefined without rows.
   */
  get times(): { minMs: number; maxMs: number; hoursMs: number[] } | undefined {
    if (this.rows === 0) return undefined;
    const { view } = this.table.timestamp.sink;
    const hours = new Set<number>();
    let [min, max] = [Number.POSITIVE_INFINITY, 0];
    // Amid this hour a row is surely in it: most are, so that few are looked at exactly.
    let [amidFrom, amidUntil] = [0, 0];
    for (let row = 0; row < this.rows; row++) {
      // A double: to 256 ns.
      const ns = view.getUint32(row * 8 + 4, true) * 2 ** 32 + view.getUint32(row * 8, true);
      if (ns < min) min = ns;
      if (ns > max) max = ns;
      if (ns >= amidFrom && ns < amidUntil) continue;
      const hour = Number(view.getBigUint64(row * 8, true) / HOUR_NS);
      hours.add(hour * 3_600_000);
      [amidFrom, amidUntil] = [hour * 3.6e12 + 512, (hour + 1) * 3.6e12 - 512];
    }
    const hoursMs = [...hours].sort((a, b) => a - b);
    return { minMs: Math.floor((min - 512) / 1e6), maxMs: Math.ceil((max + 512) / 1e6), hoursMs };
  }

  /**
   * The block of all rows. The transcoder is then empty and reuses its memory: write the chunks out before the next
   * `add`.
   */
  finish(): NativeBlock {
    const block = buildBlock(this.columns, this.rows, this.table.rejected);
    this.reset();
    return block;
  }

  /** Drops all rows. */
  reset(): void {
    this.table.reset();
    this.resources.reset();
    this.scopes.reset();
  }

  private addBody(end: number): void {
    const { bytes } = this.source;
    let pos = 0;
    while (pos < end) {
      const tag = readVarint32(bytes, pos, end);
      pos = varintEnd[0];
      if (tag === 0x0a) {
        const length = longLength(bytes, pos, end);
        pos = varintEnd[0];
        this.addResourceBlock(pos, pos + length);
        pos += length;
      } else pos = skipField(bytes, tag, pos, end);
    }
  }

  /** Resource{Spans,Logs,Metrics}. The resource may stand behind what it applies to, so it is looked for first. */
  private addResourceBlock(begin: number, end: number): void {
    const { source, table } = this;
    this.findHeader(begin, end);
    let isDead = false;
    for (const [at, until] of this.replacedHeaders) {
      if (this.resources.find(source, at, until, 0, 0) === BAD_ENTRY) isDead = true;
    }
    const entry = this.resources.find(source, this.headerAt, this.headerEnd, this.urlAt, this.urlEnd);
    const rowsBefore = table.rows;
    const { bytes } = source;
    for (let pos = begin; pos < end; ) {
      const tag = readVarint32(bytes, pos, end);
      pos = varintEnd[0];
      if (tag === 0x12) {
        const length = longLength(bytes, pos, end);
        pos = varintEnd[0];
        this.addScopeBlock(pos, pos + length, isDead || entry === BAD_ENTRY);
        pos += length;
      } else pos = skipField(bytes, tag, pos, end);
    }
    this.resources.extend(entry, table.rows - rowsBefore);
  }

  /** Scope{Spans,Logs,Metrics}. */
  private addScopeBlock(begin: number, end: number, isResourceDead: boolean): void {
    const { source, table, bounds } = this;
    const { bytes } = source;
    this.findHeader(begin, end);
    let isDead = isResourceDead;
    for (const [at, until] of this.replacedHeaders) {
      if (this.scopes.find(source, at, until, 0, 0) === BAD_ENTRY) isDead = true;
    }
    const entry = this.scopes.find(source, this.headerAt, this.headerEnd, this.urlAt, this.urlEnd);
    if (entry === BAD_ENTRY) isDead = true;
    const rowsBefore = table.rows;
    for (let pos = begin; pos < end; ) {
      const tag = readVarint32(bytes, pos, end);
      pos = varintEnd[0];
      if (tag === 0x12) {
        const length = longLength(bytes, pos, end);
        pos = varintEnd[0];
        if (isDead) table.rejected += table.countItems(source, pos, pos + length);
        else table.addItem(source, pos, pos + length, bounds);
        pos += length;
      } else pos = skipField(bytes, tag, pos, end);
    }
    this.scopes.extend(entry, table.rows - rowsBefore);
  }

  /** What `findHeader` found: the last field 1 (resource or scope) and field 3 (schema URL), empty when missing. */
  private headerAt = 0;
  private headerEnd = 0;
  private urlAt = 0;
  private urlEnd = 0;
  private readonly replacedHeaders: [at: number, end: number][] = [];

  private findHeader(begin: number, end: number): void {
    const { bytes } = this.source;
    this.headerAt = -1;
    this.headerEnd = -1;
    this.urlAt = 0;
    this.urlEnd = 0;
    this.replacedHeaders.length = 0;
    for (let pos = skipRun(bytes, begin, end); pos < end; pos = skipRun(bytes, pos, end)) {
      const tag = readVarint32(bytes, pos, end);
      pos = varintEnd[0];
      if (tag !== 0x0a && tag !== 0x1a) {
        pos = skipField(bytes, tag, pos, end);
        continue;
      }
      const length = longLength(bytes, pos, end);
      pos = varintEnd[0];
      if (tag === 0x1a) {
        this.urlAt = pos;
        this.urlEnd = pos + length;
      } else {
        if (this.headerAt >= 0) this.replacedHeaders.push([this.headerAt, this.headerEnd]);
        this.headerAt = pos;
        this.headerEnd = pos + length;
      }
      pos += length;
    }
    if (this.headerAt < 0) {
      this.headerAt = 0;
      this.headerEnd = 0;
    }
  }
}

const NOTHING = new Uint8Array(0);
const HOUR_NS = 3_600_000_000_000n;

function createTable(signal: Signal): SignalTable {
  switch (signal) {
    case 'traces':
      return new TracesTable();
    case 'logs':
      return new LogsTable();
    case 'metrics':
      return new MetricsTable();
  }
}
