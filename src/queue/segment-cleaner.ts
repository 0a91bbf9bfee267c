import { reach } from '../failpoints.js';
import type { Place } from '../journal/journal.js';
import type { Report } from '../journal/report.js';
import type { LiveRecord } from './queue-records.js';
import { plannedIn, type SegmentBook, type SegmentLedger } from './segment-ledger.js';
import { type Batch, readPayload, type StoredEntry } from './stored-entry.js';

const RETRY_MS = 1000;

/** What the cleaner needs of the queue. All appends resolve when the record is durable. */
export interface CleanerHost {
  ledger: SegmentLedger;
  batches(): Iterable<Batch>;
  persistSeen(): Promise<void>;
  appendLive(record: LiveRecord): Promise<Place>;
  appendPlans(batches: Batch[]): Promise<unknown>;
  /** Says again that an entry is done whose copy was moved meanwhile. */
  appendDone(entry: StoredEntry): Promise<unknown>;
  appendCopy(entry: StoredEntry, payload: Uint8Array): Promise<Place>;
  report: Report;
}

/**
 * Deletes segments nobody needs, one after the other. Before a segment goes, what only it says is said again
 * in a newer one and synced: plans of live batches, and for every other existing segment about whose entries it has
 * done, void or moved records, which of them are live. A crash in between leaves both, which say the same.
 *
 * When stuck entries keep segments that are mostly dead, their live entries are moved, so that the disk holds at
 * most about twice what waits.
 */
export class SegmentCleaner {
  private running: Promise<void> | undefined;
  private isStopped = false;
  private isAsked = false;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly host: CleanerHost,
    private readonly minDeadBytes: number,
  ) {}

  /** Looks for work soon; cheap to call often. */
  kick(): void {
    this.isAsked = true;
    if (this.isStopped || this.running) return;
    this.running = this.run().finally(() => {
      this.running = undefined;
      if (this.isAsked) this.kick();
    });
  }

  /** Begins nothing new. */
  stop(): void {
    this.isStopped = true;
    clearTimeout(this.timer);
  }

  /** Resolves when nothing is being deleted. */
  async idle(): Promise<void> {
    await this.running;
  }

  private async run(): Promise<void> {
    await undefined;
    clearTimeout(this.timer);
    this.isAsked = false;
    try {
      while (!this.isStopped && (await this.step()));
    } catch (error) {
      if (this.isStopped) return;
      this.host.report({
        kind: 'problem',
        message: 'Cannot clean up the journal now; trying again later',
        error,
      });
      this.timer = setTimeout(() => this.kick(), RETRY_MS);
    }
  }

  private async step(): Promise<boolean> {
    const { ledger } = this.host;
    const book = ledger.removable();
    if (book) return this.remove(book);
    const wasteful = ledger.wasteful(this.minDeadBytes);
    return wasteful !== undefined && (await this.empty(wasteful));
  }

  /** @returns false when it has to wait: for a batch whose plan is here and that is just being split */
  private async remove(book: SegmentBook): Promise<boolean> {
    const { host } = this;
    await host.persistSeen();
    const plans = plannedIn(host.batches(), book.segment);
    // A plan written now would come after the split, and the latest plan counts.
    if (plans.some((batch) => batch.isSplitting)) return false;
    if (plans.length > 0) await host.appendPlans(plans);
    for (const other of host.ledger.aboutOthers(book)) {
      const entries = host.ledger.liveIn(other.segment);
      const about = other.segment.sequence;
      const place = await host.appendLive({ segment: about, entries });
      host.ledger.refer(place.segment.sequence, about);
    }
    await book.segment.remove();
    reach('segment-deleted');
    host.ledger.removed(book);
    return true;
  }

  /** Moves the live entries of a segment to the end of the journal; false when that did not empty it. */
  private async empty(book: SegmentBook): Promise<boolean> {
    for (const entry of [...book.live]) {
      if (this.isStopped) return false;
      if (this.host.ledger.isLive(entry)) await this.move(book, entry);
    }
    return book.live.size === 0;
  }

  private async move(book: SegmentBook, entry: StoredEntry): Promise<void> {
    const { ledger } = this.host;
    let payload: Uint8Array;
    try {
      payload = await readPayload(entry);
    } catch (error) {
      // Nothing more to win here: the entry fails when it is read for its batch, then the segment can go.
      book.unmovable = true;
      throw error;
    }
    const place = await this.host.appendCopy(entry, payload);
    if (!ledger.isLive(entry)) {
      await this.host.appendDone({ ...entry, place });
      return;
    }
    ledger.released(entry, place.segment);
    entry.place = place;
    ledger.stored(entry);
  }
}
