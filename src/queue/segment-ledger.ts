import type { Segment } from '../journal/segment.js';
import type { Batch, StoredEntry } from './stored-entry.js';

/** What a segment is still needed for. */
export interface SegmentBook {
  readonly segment: Segment;
  /** Entries in it that are not durably done. */
  readonly live: Set<StoredEntry>;
  /** Bytes of their records. */
  liveBytes: number;
  /** Segments about whose entries something is said here: that they are done, void or moved. */
  readonly references: Set<number>;
  /** Holds something that must not be deleted by this program. */
  pinned: boolean;
  /** Has an entry whose bytes cannot be read, so that moving the others would not free it. */
  unmovable: boolean;
}

/** Keeps the books of all segments: which can be deleted, and what has to be said again elsewhere before. */
export class SegmentLedger {
  private readonly books = new Map<number, SegmentBook>();

  get count(): number {
    return this.books.size;
  }

  get diskBytes(): number {
    let bytes = 0;
    for (const { segment } of this.books.values()) bytes += segment.bytes;
    return bytes;
  }

  get segments(): Segment[] {
    return [...this.books.values()].map((book) => book.segment);
  }

  open(segment: Segment, pinned = false): SegmentBook {
    const book: SegmentBook = {
      segment,
      live: new Set(),
      liveBytes: 0,
      references: new Set(),
      pinned,
      unmovable: false,
    };
    this.books.set(segment.sequence, book);
    return book;
  }

  /** The entry's record is durable at its place. */
  stored(entry: StoredEntry): void {
    const book = this.bookOf(entry.place.segment);
    book.live.add(entry);
    book.liveBytes += entry.place.bytes;
  }

  /** A record in `by` says durably that the entry's record, at its present place, is not needed any more. */
  released(entry: StoredEntry, by: Segment): void {
    const book = this.bookOf(entry.place.segment);
    if (book.live.delete(entry)) book.liveBytes -= entry.place.bytes;
    this.refer(by.sequence, entry.place.segment.sequence);
  }

  /** Ids of the entries in a segment that are not durably done. */
  liveIn(segment: Segment): number[] {
    return [...(this.books.get(segment.sequence)?.live ?? [])].map((entry) => entry.id);
  }

  isLive(entry: StoredEntry): boolean {
    return this.books.get(entry.place.segment.sequence)?.live.has(entry) ?? false;
  }

  refer(from: number, about: number): void {
    if (from !== about) this.books.get(from)?.references.add(about);
  }

  /** A sealed segment without live entries. */
  removable(): SegmentBook | undefined {
    for (const book of this.books.values()) {
      if (book.segment.sealed && book.live.size === 0 && !book.pinned) return book;
    }
    return undefined;
  }

  removed(book: SegmentBook): void {
    this.books.delete(book.segment.sequence);
  }

  /** Segments that exist and about which only `book` may say what is done. */
  aboutOthers(book: SegmentBook): SegmentBook[] {
    return [...book.references]
      .map((sequence) => this.books.get(sequence))
      .filter((other) => other !== undefined);
  }

  /**
   * The sealed segment with the smallest live part, if dead bytes have become more than live ones and more than
   * `minDeadBytes`: its entries are worth moving.
   */
  wasteful(minDeadBytes: number): SegmentBook | undefined {
    let dead = 0;
    let live = 0;
    let best: SegmentBook | undefined;
    for (const book of this.books.values()) {
      if (!book.segment.sealed || book.pinned || book.unmovable) continue;
      dead += book.segment.bytes - book.liveBytes;
      live += book.liveBytes;
      if (!best || liveShare(book) < liveShare(best)) best = book;
    }
    return dead > Math.max(minDeadBytes, live) ? best : undefined;
  }

  private bookOf(segment: Segment): SegmentBook {
    return this.books.get(segment.sequence) ?? this.open(segment);
  }
}

function liveShare({ segment, liveBytes }: SegmentBook): number {
  return liveBytes / Math.max(1, segment.bytes);
}

/** The batches whose latest plan lies in a segment: it has to be written again before the segment goes. */
export function plannedIn(batches: Iterable<Batch>, segment: Segment): Batch[] {
  return [...batches].filter((batch) => batch.planSegment === segment.sequence);
}
