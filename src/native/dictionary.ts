import { ByteSink } from './byte-sink.js';

const SLOTS = 4096;
/** Neighbouring slots tried; after that an entry is added a second time, which a dictionary may have. */
const PROBES = 4;

/**
 * Distinct byte strings by number, 0 being the empty one: the dictionary of a LowCardinality column.
 *
 * It is a cache more than a set: an entry that lost its slot is added again. ClickHouse merges equal entries when it
 * reads them, and so nothing ever has to be rehashed and no choice of keys makes it slow. The guess that what
 * followed an entry last time follows again (attribute keys come in the same order) answers most look-ups with one
 * comparison.
 */
export class Dictionary {
  /** All entries one after the other, as ClickHouse Strings. */
  readonly entries = new ByteSink();
  count = 0;
  private starts = new Int32Array(256);
  private lengths = new Int32Array(256);
  private successors = new Int32Array(256);
  private readonly slots = new Int32Array(SLOTS);

  /** @param isExact entries are any bytes, kept as they are; otherwise text, repaired where it is not UTF-8 */
  constructor(private readonly isExact = false) {
    this.reset();
  }

  /** Forgets everything: the same strings get the same numbers again. */
  reset(): void {
    this.slots.fill(0);
    this.entries.recycle();
    this.entries.appendByte(0);
    this.starts[0] = 1;
    this.lengths[0] = 0;
    this.successors[0] = 0;
    this.count = 1;
  }

  /**
   * The number of [pos, pos + length) of `source`; text that is not UTF-8 is repaired.
   *
   * @param previous number of the entry that stood before it (0: none), for the guess
   */
  find(source: ByteSink, pos: number, length: number, previous: number): number {
    const guess = this.successors[previous];
    if (this.lengths[guess] === length && this.entries.equals(this.starts[guess], source, pos, length)) {
      return guess;
    }
    return length === 0 ? 0 : this.lookUp(source, pos, length, previous);
  }

  /** Whether entry `index` is the text in `key`. */
  isEntry(index: number, key: ByteSink): boolean {
    return this.lengths[index] === key.length && this.entries.equals(this.starts[index], key, 0, key.length);
  }

  startOf(index: number): number {
    return this.starts[index];
  }

  lengthOf(index: number): number {
    return this.lengths[index];
  }

  private lookUp(source: ByteSink, pos: number, length: number, previous: number): number {
    const { slots } = this;
    const home = hash(source, pos, length);
    let free = home;
    for (let probe = 0; probe < PROBES; probe++) {
      const slot = (home + probe) & (SLOTS - 1);
      const entry = slots[slot];
      if (entry === 0) {
        free = slot;
        break;
      }
      if (this.lengths[entry] === length && this.entries.equals(this.starts[entry], source, pos, length)) {
        this.successors[previous] = entry;
        return entry;
      }
    }
    const added = this.add(source, pos, length);
    slots[free] = added;
    this.successors[previous] = added;
    return added;
  }

  private add(source: ByteSink, pos: number, length: number): number {
    const index = this.count++;
    if (index === this.starts.length) this.grow();
    const before = this.entries.length;
    if (this.isExact) {
      this.entries.appendVarint(length);
      this.entries.appendBytes(source, pos, length);
    } else this.entries.appendString(source, pos, length);
    const { bytes } = this.entries;
    let start = before;
    while (bytes[start++] > 0x7f);
    this.starts[index] = start;
    this.lengths[index] = this.entries.length - start;
    this.successors[index] = 0;
    return index;
  }

  private grow(): void {
    const size = this.starts.length * 2;
    this.starts = resized(this.starts, size);
    this.lengths = resized(this.lengths, size);
    this.successors = resized(this.successors, size);
  }

  get byteLength(): number {
    return this.entries.length;
  }
}

/** A copy with room for `size` numbers. */
export function resized(from: Int32Array, size: number): Int32Array<ArrayBuffer> {
  const to = new Int32Array(size);
  to.set(from);
  return to;
}

function hash(source: ByteSink, pos: number, length: number): number {
  const { view } = source;
  const end = pos + length;
  const words = end - 3;
  let h = length;
  for (; pos < words; pos += 4) {
    h = Math.imul(h ^ view.getInt32(pos, true), 0x9e3779b1);
    h ^= h >>> 15;
  }
  for (; pos < end; pos++) h = Math.imul(h ^ view.getUint8(pos), 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h >>> 16) & (SLOTS - 1);
}
