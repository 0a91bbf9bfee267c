import type { QueueStats } from './ingest-queue.js';
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

export function queueStats(parts: QueueParts, duplicates: number): DiskQueueStats {
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
    diskFull: journal.isRefusing || (!reserve.held && settings.reserveBytes > 0),
  };
}
