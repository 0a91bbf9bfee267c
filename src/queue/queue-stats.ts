import type { QueueStats } from './ingest-queue.js';
import type { QueueParts } from './queue-startup.js';

export function queueStats(parts: QueueParts, duplicates: number): QueueStats {
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
    diskFull: journal.isRefusing || (!reserve.held && settings.reserveBytes > 0),
  };
}
