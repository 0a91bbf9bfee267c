/** A body that was accepted: 16 bytes of key, the clock's milliseconds, and what its client was told. */
export interface SeenBody {
  key: Uint8Array;
  addedAtMs: number;
  rejected: number;
  note: string;
}

const KEY_WORDS = 4;
const TIME = 4;
const REJECTED = 5;
const NOTE = 6;
const WORDS = 7;
/** Spreads keys that differ in few bits. */
const GOLDEN = 0x9e3779b1;
const FIRST_ROWS = 256;
/** Index slots a row; at most every other slot is used. */
const SLOTS_PER_ROW = 2;

/**
 * Bodies accepted in one stretch of time, found by key: 28 bytes a body and an open-addressed index, since a Map
 * of strings would cost ten times that and millions may come in ten minutes. Rows keep the order they came in.
 */
export class SeenTable {
  count = 0;
  private rows = new Uint32Array(FIRST_ROWS * WORDS);
  private index = new Uint32Array(FIRST_ROWS * SLOTS_PER_ROW);
  private readonly notes = [''];
  private readonly noteNumbers = new Map([['', 0]]);

  /** @param startMs bodies were added at or after this time */
  constructor(readonly startMs: number) {}

  get(key: Uint8Array): SeenBody | undefined {
    const words = toWords(key);
    const row = this.index[this.slot(words)];
    return row === 0 ? undefined : this.at(row - 1);
  }

  /** Adds a body whose key is not in the table. */
  add({ key, addedAtMs, rejected, note }: SeenBody): void {
    if (this.count * WORDS === this.rows.length) this.grow();
    const words = toWords(key);
    const row = this.count * WORDS;
    this.rows.set(words, row);
    this.rows[row + TIME] = addedAtMs - this.startMs;
    this.rows[row + REJECTED] = rejected;
    this.rows[row + NOTE] = this.noteNumber(note);
    this.count++;
    this.index[this.slot(words)] = this.count;
  }

  /** The n-th body added. */
  at(n: number): SeenBody {
    const row = n * WORDS;
    const words = this.rows.slice(row, row + KEY_WORDS);
    return {
      key: new Uint8Array(words.buffer),
      addedAtMs: this.startMs + this.rows[row + TIME],
      rejected: this.rows[row + REJECTED],
      note: this.notes[this.rows[row + NOTE]],
    };
  }

  private noteNumber(note: string): number {
    let number = this.noteNumbers.get(note);
    if (number === undefined) {
      number = this.notes.push(note) - 1;
      this.noteNumbers.set(note, number);
    }
    return number;
  }

  /** The index slot of the key, or the free one where it belongs. */
  private slot(words: Uint32Array): number {
    let slot = (Math.imul(words[0] ^ words[1] ^ words[2] ^ words[3], GOLDEN) >>> 0) % this.index.length;
    for (;;) {
      const row = this.index[slot];
      if (row === 0 || this.hasKey(row - 1, words)) return slot;
      slot = slot + 1 === this.index.length ? 0 : slot + 1;
    }
  }

  private hasKey(n: number, words: Uint32Array): boolean {
    const row = n * WORDS;
    return (
      this.rows[row] === words[0] &&
      this.rows[row + 1] === words[1] &&
      this.rows[row + 2] === words[2] &&
      this.rows[row + 3] === words[3]
    );
  }

  private grow(): void {
    const rows = new Uint32Array(this.rows.length * 2);
    rows.set(this.rows);
    this.rows = rows;
    this.index = new Uint32Array((rows.length / WORDS) * SLOTS_PER_ROW);
    for (let n = 0; n < this.count; n++) {
      this.index[this.slot(rows.subarray(n * WORDS, n * WORDS + KEY_WORDS))] = n + 1;
    }
  }
}

const scratch = new Uint32Array(KEY_WORDS);
const scratchBytes = new Uint8Array(scratch.buffer);

/** The key's words, valid until the next call. */
function toWords(key: Uint8Array): Uint32Array {
  scratchBytes.set(key);
  return scratch;
}
