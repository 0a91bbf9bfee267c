import type { Place } from '../journal/journal.js';
import { HEADER_BYTES, type JournalRecord, RECORD_VERSION } from '../journal/record.js';
import type { Segment } from '../journal/segment.js';
import {
  type DoneRecord,
  decodeControl,
  decodeEntry,
  type EntryMeta,
  type LiveRecord,
  type PlannedBatch,
  type PlanRecord,
  RecordType,
  type VoidRecord,
} from './queue-records.js';

export interface ReplayedEntry {
  id: number;
  meta: EntryMeta;
  bodyBytes: number;
  place: Place;
}

export interface ReplayedBatch {
  planned: PlannedBatch;
  /** Sequence of the segment with the latest plan. */
  planSegment: number;
  entries: ReplayedEntry[];
}

interface Found extends ReplayedEntry {
  /** Every copy: an entry may have been moved to a newer segment. */
  copies: Place[];
}

/**
 * Rebuilds the queue's state from journal records given in the order of the files. Plain function of the records:
 * an entry is live unless a done or void record names it or a live record of its segment leaves it out; of the
 * plans that name it the latest counts.
 */
export class Replay {
  lastId = 0;
  /** By segment with a record that says something about another one's entries: the sequences of those. */
  readonly references = new Map<number, Set<number>>();
  private readonly found = new Map<number, Found>();
  private readonly done = new Set<number>();
  private readonly voided = new Set<number>();
  private readonly liveIn = new Map<number, Set<number>>();
  /** By entry: the batch of the latest plan that names it. */
  private readonly planOf = new Map<number, string>();
  private readonly plans = new Map<string, { planned: PlannedBatch; planSegment: number }>();
  private readonly mentions: { sequence: number; entries: number[] }[] = [];

  /** @returns false for a record this program does not know: its segment must be kept */
  add(segment: Segment, record: JournalRecord): boolean {
    this.lastId = Math.max(this.lastId, record.id);
    if (record.version !== RECORD_VERSION) return false;
    try {
      return this.apply(segment, record);
    } catch {
      return false;
    }
  }

  /** Live entries by id, oldest first. */
  entries(): ReplayedEntry[] {
    return [...this.found.values()].filter((entry) => this.isLive(entry)).sort((a, b) => a.id - b.id);
  }

  /** Batches with live entries, in the order they were planned first. */
  batches(): ReplayedBatch[] {
    const batches: ReplayedBatch[] = [];
    for (const { planned, planSegment } of this.plans.values()) {
      const entries = planned.entries
        .map((id) => this.found.get(id))
        .filter((entry): entry is Found => entry !== undefined && this.isLive(entry))
        .filter((entry) => this.planOf.get(entry.id) === planned.id);
      if (entries.length > 0) batches.push({ planned, planSegment, entries });
    }
    return batches;
  }

  /**
   * Entries that were taken for certain, done ones included. One that only a live record leaves out may have been
   * refused; if it was not, its body is in the files of seen bodies, and its file of the failed set is gone.
   */
  accepted(): EntryMeta[] {
    const metas: EntryMeta[] = [];
    for (const entry of this.found.values()) {
      if (this.voided.has(entry.id)) continue;
      if (this.done.has(entry.id) || this.isLive(entry)) metas.push(entry.meta);
    }
    return metas;
  }

  /** Files of the failed set whose entries are certainly in the journal again. */
  requeued(): Set<string> {
    return new Set(this.accepted().flatMap(({ failedId }) => failedId ?? []));
  }

  /** Call once, after the last record. */
  finish(): void {
    for (const { sequence, entries } of this.mentions) {
      for (const id of entries) {
        for (const copy of this.found.get(id)?.copies ?? []) this.refer(sequence, copy.segment.sequence);
      }
    }
    for (const entry of this.found.values()) {
      const alive = entry.copies.filter((copy) => this.isListed(entry.id, copy));
      entry.place = alive.at(-1) ?? entry.place;
    }
  }

  private apply(segment: Segment, record: JournalRecord): boolean {
    const { sequence } = segment;
    switch (record.type) {
      case RecordType.entry:
        this.addEntry(segment, record);
        return true;
      case RecordType.plan:
        for (const planned of decodeControl<PlanRecord>(record.payload).batches)
          this.addPlan(planned, sequence);
        return true;
      case RecordType.done: {
        const { entries } = decodeControl<DoneRecord>(record.payload);
        for (const id of entries) this.done.add(id);
        this.mentions.push({ sequence, entries });
        return true;
      }
      case RecordType.live: {
        const { segment: about, entries } = decodeControl<LiveRecord>(record.payload);
        const before = this.liveIn.get(about);
        this.liveIn.set(about, new Set(before ? entries.filter((id) => before.has(id)) : entries));
        this.refer(sequence, about);
        return true;
      }
      case RecordType.void: {
        const { segment: about, entries } = decodeControl<VoidRecord>(record.payload);
        for (const id of entries) this.voided.add(id);
        this.refer(sequence, about);
        return true;
      }
      default:
        return false;
    }
  }

  private addEntry(segment: Segment, { id, offset, payload }: JournalRecord): void {
    const { meta, bodyOffset } = decodeEntry(payload);
    const place = { segment, offset, bytes: HEADER_BYTES + payload.length };
    const known = this.found.get(id);
    if (!known) {
      this.found.set(id, { id, meta, bodyBytes: payload.length - bodyOffset, place, copies: [place] });
      return;
    }
    // Moved: as long as the older file exists, this one is the proof that the copy there is dead.
    this.refer(segment.sequence, known.place.segment.sequence);
    known.copies.push(place);
    known.place = place;
  }

  private addPlan(planned: PlannedBatch, planSegment: number): void {
    this.plans.set(planned.id, { planned, planSegment });
    for (const id of planned.entries) this.planOf.set(id, planned.id);
  }

  private refer(from: number, about: number): void {
    if (from === about) return;
    const known = this.references.get(from);
    if (known) known.add(about);
    else this.references.set(from, new Set([about]));
  }

  private isLive(entry: Found): boolean {
    if (this.done.has(entry.id) || this.voided.has(entry.id)) return false;
    return entry.copies.some((copy) => this.isListed(entry.id, copy));
  }

  private isListed(id: number, copy: Place): boolean {
    return this.liveIn.get(copy.segment.sequence)?.has(id) ?? true;
  }
}
