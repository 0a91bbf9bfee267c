import { SIGNALS } from '../signal.js';
import type { BatchWork, QueueStats } from './ingest-queue.js';
import type { QueueParts } from './queue-startup.js';

/** What the disk adds to the figures. */
export interface DiskQueueStats extends QueueStats {
  /** Bodies held in memory, bytes. */
  memoryBytes: number;
  /** All journal files, bytes. */
  diskBytes: number;
  segments: number;
  appendedRecords: number;
  appendedBytes: number;
  syncs: number;
  /** Damaged places found in the journal when it was opened. */
  corruptRecords: number;
  /** Records of a newer version of the program, kept untouched. */
  unknownRecords: number;
  /** True while new entries are refused because the disk is full or fails. */
  diskFull: boolean;
}

type Counts = Pick<BatchWork, 'completed' | 'failures' | 'busyMs'>;

/** Of a taker that takes everything at once. */
const ANYTHING = { maxBytes: 1, maxItems: 1, maxAgeMs: 0 };

function workOf({ backlog }: QueueParts, counts: Counts): BatchWork {
  const nowMs = performance.now();
  const ready = SIGNALS.flatMap((signal) => backlog.ready[signal]);
  const due = SIGNALS.flatMap((signal) => [
    backlog.nextReadyAtMs(signal),
    backlog.lanes[signal].nextDueAtMs(ANYTHING),
  ]);
  return {
    ...counts,
    active: [...backlog.batches.values()].filter(({ holder }) => holder).length,
    delayed: ready.filter(({ dueAtMs }) => dueAtMs > nowMs).length,
    lagMs: Math.max(0, nowMs - Math.min(nowMs, ...due)),
  };
}

export function queueStats(parts: QueueParts, duplicates: number, counts: Counts): DiskQueueStats {
  const { backlog, failed, ledger, reserve, settings, damaged, unknown } = parts;
  const { journal } = parts.journal;
  return {
    waitingBytes: backlog.waitingBytes,
    waitingItems: { ...backlog.waitingItems },
    waitingEntries: backlog.waitingEntries,
    waitingBatches: backlog.batches.size,
    oldestWaitingMs: Math.max(0, settings.nowMs() - Math.min(settings.nowMs(), backlog.oldestAddedAtMs())),
    backlogBytes: backlog.costBytes + failed.bytes,
    maxBacklogBytes: settings.maxBacklogBytes,
    memoryBytes: backlog.memoryBytes,
    diskBytes: ledger.diskBytes,
    segments: ledger.count,
    appendedRecords: journal.appendedRecords,
    appendedBytes: journal.appendedBytes,
    syncs: journal.syncs,
    duplicates,
    corruptRecords: damaged,
    unknownRecords: unknown,
    failedEntries: failed.size,
    failedBytes: failed.bytes,
    isPaused: parts.pause.isOn,
    work: workOf(parts, counts),
    diskFull: journal.isRefusing || (!reserve.held && settings.reserveBytes > 0),
  };
}
