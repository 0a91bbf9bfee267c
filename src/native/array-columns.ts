import { ByteSink } from './byte-sink.js';
import type { RevocableColumn } from './native-columns.js';

/** Where the elements of each row end: what Native keeps of an Array or Map beside the elements. */
export class Offsets {
  private readonly sink = new ByteSink();
  private rows = 0;
  private total = 0;
  private markedRows = 0;
  private markedTotal = 0;

  get byteLength(): number {
    return this.sink.length;
  }

  /** Row `row` ends at element `total`; rows before it that were not set have no elements. */
  set(row: number, total: number): void {
    this.fill(row);
    this.sink.reserve(8);
    const at = this.sink.length;
    this.sink.view.setInt32(at, total, true);
    this.sink.view.setInt32(at + 4, 0, true);
    this.sink.length = at + 8;
    this.rows = row + 1;
    this.total = total;
  }

  private fill(rows: number): void {
    if (rows <= this.rows) return;
    const { sink } = this;
    sink.reserve((rows - this.rows) * 8);
    const { view } = sink;
    for (; this.rows < rows; this.rows++, sink.length += 8) {
      view.setInt32(sink.length, this.total, true);
      view.setInt32(sink.length + 4, 0, true);
    }
  }

  writeData(out: Uint8Array[], rows: number): void {
    this.fill(rows);
    out.push(this.sink.written());
  }

  mark(): void {
    this.markedRows = this.rows;
    this.markedTotal = this.total;
  }

  rollback(): void {
    this.rows = this.markedRows;
    this.total = this.markedTotal;
    this.sink.length = this.rows * 8;
  }

  reset(): void {
    this.rows = 0;
    this.total = 0;
    this.sink.recycle();
    this.mark();
  }
}

/** Array(T) over a column of elements; columns of one group share their offsets. */
class ArrayColumn implements RevocableColumn {
  readonly type: string;
  readonly isAlwaysWritten: boolean;

  constructor(
    private readonly group: ArrayGroup,
    private readonly elements: RevocableColumn,
  ) {
    this.type = `Array(${elements.type})`;
    this.isAlwaysWritten = elements.type === 'LowCardinality(String)';
  }

  get isTouched(): boolean {
    return this.group.count > 0;
  }

  get byteLength(): number {
    return this.elements.byteLength;
  }

  writePrefix(out: Uint8Array[]): void {
    this.elements.writePrefix(out);
  }

  writeData(out: Uint8Array[], rows: number): void {
    this.group.offsets.writeData(out, rows);
    this.elements.writeData(out, this.group.count);
  }

  mark(): void {
    this.elements.mark();
  }

  rollback(): void {
    this.elements.rollback();
  }

  reset(): void {
    this.elements.reset();
  }
}

/**
 * Array columns of equal lengths in every row, as the parts of a Nested structure are. Elements are written to the element columns at index `count`, then `count` goes up; `endRow` closes a row.
 */
export class ArrayGroup {
  readonly offsets = new Offsets();
  readonly columns: RevocableColumn[] = [];
  count = 0;
  private marked = 0;

  /** Adds the array column that holds these elements. */
  column(elements: RevocableColumn): RevocableColumn {
    const column = new ArrayColumn(this, elements);
    this.columns.push(column);
    return column;
  }

  /** The elements since the last row are those of row `row`. */
  endRow(row: number): void {
    if (this.count === this.marked) return;
    this.offsets.set(row, this.count);
    this.marked = this.count;
    for (const column of this.columns) column.mark();
  }

  /** The elements since the last row belong to no row. */
  dropRow(): void {
    if (this.count === this.marked) return;
    this.count = this.marked;
    for (const column of this.columns) column.rollback();
  }

  /** Forgets the rows; the columns are reset on their own, with the others of their table. */
  reset(): void {
    this.count = 0;
    this.marked = 0;
    this.offsets.reset();
  }
}
