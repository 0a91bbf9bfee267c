import { isNoSpace } from '../journal/durable-files.js';
import type { FileSystem } from '../journal/file-system.js';
import { type Append, Journal, type Place } from '../journal/journal.js';
import { type Report, reportSeldom } from '../journal/report.js';
import type { Segment } from '../journal/segment.js';
import type { SpaceReserve } from '../journal/space-reserve.js';
import {
  type EntryMeta,
  encodeControl,
  encodeEntryPrefix,
  type LiveRecord,
  type PlanRecord,
  RecordType,
} from './queue-records.js';
import { SegmentCleaner } from './segment-cleaner.js';
import type { SegmentLedger } from './segment-ledger.js';
import type { Batch, StoredEntry } from './stored-entry.js';

export interface QueueJournalOptions {
  fs: FileSystem;
  directory: string;
  firstSequence: number;
  lastId: number;
  segmentBytes: number;
  maxGroupBytes: number;
  lazyMs: number;
  retryMs: number;
  reserve: SpaceReserve;
  ledger: SegmentLedger;
  batches: ReadonlyMap<string, Batch>;
  persistSeen(): Promise<void>;
  report: Report;
}

/** How many segments of dead bytes stuck entries may hold before they are moved. */
const DEAD_SEGMENTS = 4;

/** The queue's records in the journal, with the books of the segments kept in the same step as they become durable. */
export class QueueJournal {
  readonly journal: Journal;
  readonly cleaner: SegmentCleaner;
  private lastId: number;
  /** Entries that are being copied to a newer segment. */
  private readonly moving = new Set<number>();
  /** Batches that are done, but not durably. */
  private readonly finishing = new Set<Batch>();
  private readonly preparing = new Set<Promise<void>>();

  constructor(private readonly options: QueueJournalOptions) {
    const { ledger } = options;
    this.lastId = options.lastId;
    this.journal = new Journal({
      ...options,
      onUncertain: (records, segment) => this.disown(records, segment),
      onProblem: reportSeldom(options.report, 'Cannot write to the journal'),
    });
    this.journal.created = (segment) => {
      ledger.open(segment);
      this.cleaner.kick();
    };
    this.cleaner = new SegmentCleaner(this.cleanerHost(), DEAD_SEGMENTS * options.segmentBytes);
  }

  /** Begins a segment and the clean-up of old ones; a full disk is no reason not to start. */
  async start(): Promise<void> {
    try {
      await this.journal.prepare();
    } catch (error) {
      this.options.report({ kind: 'problem', message: 'Cannot begin a journal segment yet', error });
    }
    this.cleaner.kick();
  }

  nextId(): number {
    return ++this.lastId;
  }

  /** Writes an entry; `onDurable` gets its id and place in the same step as it becomes durable. */
  appendEntry(
    meta: EntryMeta,
    body: Uint8Array,
    onDurable: (id: number, place: Place) => void,
    onRefused: (error: unknown) => void,
  ): void {
    const id = this.nextId();
    this.journal.append(
      {
        type: RecordType.entry,
        id,
        payload: [encodeEntryPrefix(meta), body],
        control: false,
        onDurable: (place) => onDurable(id, place),
        onRefused,
      },
      true,
    );
  }

  /** Resolves when the plan is durable, however long that takes. @param out whether they are being given out */
  async appendPlans(batches: readonly Batch[], isOut: (batch: Batch) => boolean): Promise<void> {
    const record: PlanRecord = {
      batches: batches.map((batch) => ({
        id: batch.id,
        entries: batch.entries.map(({ id }) => id),
        attempt: batch.attempt,
        interruptions: batch.interruptions,
        out: isOut(batch),
        ...(batch.hasBegun && { begun: true }),
      })),
    };
    await this.control(RecordType.plan, encodeControl(record), true, ({ segment }) => {
      for (const batch of batches) batch.planSegment = segment.sequence;
    });
  }

  /**
   * Resolves when it is durable that the batch is done; soon, not at once, unless urgent.
   *
   * @param prepare what must have succeeded before that
   */
  async finish(batch: Batch, urgent: boolean, prepare?: () => Promise<void>): Promise<void> {
    // Until then a crash brings it back, and its plan must still be there.
    this.finishing.add(batch);
    if (prepare) {
      const preparing = prepare();
      this.preparing.add(preparing);
      await preparing.finally(() => this.preparing.delete(preparing));
    }
    await this.appendDone(batch.entries, urgent);
    this.finishing.delete(batch);
  }

  private async appendDone(entries: readonly StoredEntry[], urgent: boolean): Promise<void> {
    const payload = encodeControl({ entries: entries.map(({ id }) => id) });
    await this.control(RecordType.done, payload, urgent, ({ segment }) => {
      for (const entry of entries) this.options.ledger.released(entry, segment);
      this.cleaner.kick();
    });
  }

  /** Makes everything pending durable as far as possible, stops, and closes all files. */
  async close(): Promise<void> {
    this.cleaner.stop();
    while (this.preparing.size > 0) await Promise.allSettled(this.preparing);
    await this.journal.flush();
    this.journal.stop();
    await this.cleaner.idle();
    for (const segment of this.options.ledger.segments) await segment.release();
  }

  /**
   * Entries that were refused must not come back after a crash, since their clients send them again: before
   * anything else is acknowledged it is written down what counts in the segment. Copies need the same, so that
   * they do not outlive the original.
   */
  private disown(records: readonly Append[], segment: Segment): void {
    const data = records.filter((record) => !record.control);
    if (data.length === 0) return;
    const about = segment.sequence;
    if (data.some(({ id }) => this.moving.has(id))) segment.sealed = true;
    const [type, entries] = segment.sealed
      ? [RecordType.live, this.options.ledger.liveIn(segment)]
      : [RecordType.void, data.map(({ id }) => id)];
    this.journal.appendFirst({
      type,
      id: this.nextId(),
      payload: [encodeControl({ segment: about, entries })],
      control: true,
      onDurable: (place) => this.options.ledger.refer(place.segment.sequence, about),
    });
  }

  private control(
    type: number,
    payload: Uint8Array,
    urgent: boolean,
    onDurable: (place: Place) => void,
  ): Promise<Place> {
    return new Promise((resolve, reject) => {
      const record: Append = {
        type,
        id: this.nextId(),
        payload: [payload],
        control: true,
        onDurable: (place) => {
          onDurable(place);
          resolve(place);
        },
        onRefused: reject,
      };
      this.journal.append(record, urgent);
    });
  }

  private cleanerHost() {
    const { ledger, batches, report } = this.options;
    return {
      ledger,
      report,
      batches: () => [...batches.values(), ...this.finishing],
      persistSeen: () => this.persistSeen(),
      appendLive: (record: LiveRecord) =>
        this.control(RecordType.live, encodeControl(record), true, ({ segment }) =>
          ledger.refer(segment.sequence, record.segment),
        ),
      appendPlans: (plans: Batch[]) => this.appendPlans(plans, (batch) => batch.holder !== undefined),
      appendDone: (entry: StoredEntry) => this.appendDone([entry], true),
      appendCopy: (entry: StoredEntry, payload: Uint8Array) => this.copy(entry, payload),
    };
  }

  private async copy(entry: StoredEntry, payload: Uint8Array): Promise<Place> {
    this.moving.add(entry.id);
    try {
      return await new Promise((onDurable, onRefused) => {
        const record = { type: RecordType.entry, id: entry.id, payload: [payload], control: false };
        this.journal.append({ ...record, onDurable, onRefused }, true);
      });
    } finally {
      this.moving.delete(entry.id);
    }
  }

  /** With the reserve if need be. */
  private async persistSeen(): Promise<void> {
    const { persistSeen, reserve } = this.options;
    try {
      await persistSeen();
    } catch (error) {
      if (!isNoSpace(error) || !(await reserve.release())) throw error;
      await persistSeen();
    }
  }
}
