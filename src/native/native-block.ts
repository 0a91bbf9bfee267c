import type { NativeColumn } from './native-columns.js';

export interface NamedColumn {
  readonly name: string;
  readonly column: NativeColumn;
}

/** The bytes of ONE block in ClickHouse's Native format, and what is needed to insert them. */
export interface NativeBlock {
  rows: number;
  /** Column names for the INSERT column list and the SELECT; those with dots need backticks. */
  columns: string[];
  /** Column list with types for `file('x', Native, '<structure>')`: no quotes in it, dotted names in backticks. */
  structure: string;
  /** The block, in order. Views of buffers that the next `add` writes to again: write them out before that. */
  chunks: Uint8Array[];
  /** Items of the added bodies that did not become rows. */
  rejected: number;
}

/**
 * Puts the touched columns, and those whose defaults are dear, into a Native block: number of columns and rows, then for each its name, type and data.
 * Format: https://clickhouse.com/docs/interfaces/formats/Native (revision 0: without block info).
 */
export function buildBlock(named: readonly NamedColumn[], rows: number, rejected: number): NativeBlock {
  const used =
    rows === 0 ? [] : named.filter(({ column }) => column.isTouched || column.isAlwaysWritten === true);
  const chunks: Uint8Array[] = [];
  if (rows > 0) chunks.push(varint(used.length), varint(rows));
  for (const { name, column } of used) {
    chunks.push(text(name), text(column.type));
    column.writePrefix(chunks);
    column.writeData(chunks, rows);
  }
  return {
    rows,
    columns: used.map(({ name }) => name),
    structure: used.map(({ name, column }) => `${quoted(name)} ${column.type}`).join(', '),
    chunks: joinSmall(chunks),
    rejected,
  };
}

function quoted(name: string): string {
  return name.includes('.') ? `\`${name}\`` : name;
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (; value > 0x7f; value = Math.floor(value / 128)) bytes.push((value & 0x7f) | 0x80);
  bytes.push(value);
  return Uint8Array.from(bytes);
}

/** Names and types are well under 128 bytes each in UTF-8, but nothing here relies on it. */
function text(value: string): Uint8Array {
  const bytes = Buffer.from(value);
  return Buffer.concat([varint(bytes.length), bytes]);
}

const SMALL = 4096;

/** Copies runs of small chunks together: fewer and larger writes. */
function joinSmall(chunks: Uint8Array[]): Uint8Array[] {
  const joined: Uint8Array[] = [];
  let small: Uint8Array[] = [];
  const flush = () => {
    if (small.length > 0) joined.push(Buffer.concat(small));
    small = [];
  };
  for (const chunk of chunks) {
    if (chunk.length < SMALL) small.push(chunk);
    else {
      flush();
      joined.push(chunk);
    }
  }
  flush();
  return joined;
}
