import type { Scope } from '../edge/scope.js';
import type { Signal } from '../signal.js';

/** Injection token of the queue. */
export const INGEST_QUEUE = Symbol('INGEST_QUEUE');

/** How many items of a request were refused, by the code of the reason (otlp/item-rules.ts). */
export type Rejections = Readonly<Record<string, number>>;

/** The reason of items that a version of this program refused which did not write the reasons down. */
export const REASON_NOT_RECORDED = 'NOT_RECORDED';

/** One accepted OTLP request, as it is made durable. The queue owns `body` once `add` has resolved with `duplicate: false`. */
export interface IngestEntry {
  signal: Signal;
  scope: Scope;
  /** When the request arrived; with `retentionDays` it fixes the window of accepted times for every replay. */
  receivedAtMs: number;
  retentionDays: number;
  /** Spans, log records or data points accepted. */
  items: number;
  /** Items refused by partial success; told again to a client that sends the same body again. */
  rejected: number;
  /** The same, by reason; for the ledger. */
  reasons?: Rejections;
  /** OTLP protobuf (Export*ServiceRequest), in memory of the body pool. */
  body: Uint8Array;
  /** 16 bytes of a cryptographic hash of the whole decompressed body. */
  contentHash: Uint8Array;
  /** Partial-success message, kept for duplicates; '' if none. */
  note: string;
}

/** What was refused of an entry, by reason; undefined: nothing. */
export function reasonsOf({
  reasons,
  rejected,
}: Pick<IngestEntry, 'reasons' | 'rejected'>): Rejections | undefined {
  return reasons ?? (rejected > 0 ? { [REASON_NOT_RECORDED]: rejected } : undefined);
}

/** `duplicate: true`: the same body is already stored or waiting; `rejected` and `note` are the first one's. */
export type AddResult = { duplicate: false } | { duplicate: true; rejected: number; note: string };

export interface BatchEntry {
  readonly receivedAtMs: number;
  readonly retentionDays: number;
  readonly items: number;
  /** What was refused of the request besides; undefined: nothing. */
  readonly reasons?: Rejections;
  /** Body length, bytes. */
  readonly bytes: number;
  /**
   * The body, which the caller gives back to the body pool; called again, it is read again from where it is kept.
   *
   * @throws PermanentError when the stored bytes are damaged: split until the entry is alone, then `fail` it
   * @throws BatchLost, AppError UNAVAILABLE when Redis is away
   */
  readonly read: () => Promise<Uint8Array>;
}

/** Entries of one tenant and signal that are inserted as one block. Boundaries and id never change once given out. */
export interface IngestBatch {
  /** Unique for ever, over restarts and copies of the directory: the `insert_deduplication_token`. */
  readonly id: string;
  readonly signal: Signal;
  readonly scope: Scope;
  readonly items: number;
  /** Sum of the body lengths, bytes. */
  readonly bytes: number;
  /** 1 when it is given out first, then one more each time (retries and restarts counted, as far as known). */
  readonly attempt: number;
  /**
   * How many processes ended while they held this batch and had not begun to insert it: it may be what killed them. Such a batch may be
   * split, since nothing of it can be in the store; the halves are as suspect as it was.
   */
  readonly interruptions: number;
  readonly entries: readonly BatchEntry[];
}

export interface TakeLimits {
  /** A batch closes at this many body bytes; a single larger entry makes a batch of its own. */
  maxBytes: number;
  maxItems: number;
  /** The oldest waiting entry of a tenant is given out at this age even if the batch is small. */
  maxAgeMs: number;
}

/**
 * Entries of a batch at most, whatever its limits: each body takes 4 KiB of memory at least, so a backlog of small ones would else be read into
 * half a gigabyte at once. In Redis nothing else runs while they are gone through, about 10 ms for so many.
 */
export const MAX_BATCH_ENTRIES = 10_000;

/** An entry that was given up. Its body is kept until it is retried or discarded. */
export interface FailedEntry {
  id: string;
  batchId: string;
  signal: Signal;
  scope: Scope;
  receivedAtMs: number;
  failedAtMs: number;
  items: number;
  /** What was refused of the request besides; undefined: nothing. */
  reasons?: Rejections;
  bytes: number;
  reason: string;
  /** Discarded, but perhaps not recorded yet: only `discardFailed` can be called with it. */
  isDiscarded?: boolean;
}

/** What waits of one minute's requests. */
export interface WaitingMinute {
  /** The minute of their receipt, Unix milliseconds. */
  minuteMs: number;
  items: number;
  /** What was refused of them besides. */
  reasons: Rejections;
}

export interface WaitingLane {
  signal: Signal;
  scope: Scope;
  items: number;
  bytes: number;
  oldestMs: number;
  minutes: WaitingMinute[];
}

/** The batch is not the caller's any more: its lease ran out, or the queue lost it. Whoever has it now stores it; leave it. */
export class BatchLost extends Error {
  override readonly name = 'BatchLost';
}

/** What is done with batches; counts are of all processes in Redis, of this one since its start on disk. */
export interface BatchWork {
  /** In somebody's hands. */
  active: number;
  /** Put off by `retry`. */
  delayed: number;
  completed: number;
  /** Retried, split or failed. */
  failures: number;
  /** From being given out to done, all completed ones together, ms. */
  busyMs: number;
  /** Age of the oldest entry or batch that could be given out and is not, ms. */
  lagMs: number;
}

export interface QueueStats {
  /** Body bytes acknowledged and not done, given-out batches included. */
  waitingBytes: number;
  waitingItems: Record<Signal, number>;
  waitingEntries: number;
  /** Batches planned and not done: given out, delayed by `retry`, or left by an earlier process. */
  waitingBatches: number;
  /** Age of the oldest acknowledged entry that is not done; 0 when there is none. */
  oldestWaitingMs: number;
  /** What counts against the byte limit: every entry costs at least 4 KiB; the failed set counts too. */
  backlogBytes: number;
  maxBacklogBytes: number;
  /** Entries told to be there already, of this process or all of them, as the driver counts. */
  duplicates: number;
  failedEntries: number;
  failedBytes: number;
  isPaused: boolean;
  work: BatchWork;
}

/**
 * The queue between acknowledging OTLP requests and inserting them: durable before the answer, given out in
 * batches whose boundaries and id are durable before the insert, so that a replay repeats the same insert.
 */
export interface IngestQueue {
  /**
   * Resolves when the entry is durable. The same content of the same scope and signal within ten minutes is
   * a duplicate: it waits for the first one to be durable, and is tried itself if the first one failed.
   *
   * @throws AppError BACKLOG_FULL over the byte limit, DISK_FULL when there is no room or the disk fails, UNAVAILABLE when
   *   Redis is away, SHUTTING_DOWN after `close` began
   */
  add(entry: IngestEntry): Promise<AddResult>;
  /**
   * Waits until a batch is due: a batch of an earlier process or a retry first, else a tenant whose waiting
   * entries reach a limit or are old enough, tenants in turn. Resolves once the plan (id and exact entries)
   * is durable; undefined when `abort` fires or the queue closes. Several callers may wait at once. While the queue is
   * paused nothing is due.
   */
  take(signal: Signal, limits: TakeLimits, abort: AbortSignal): Promise<IngestBatch | undefined>;
  /**
   * Has to be called before each insert of the batch; the insert may begin when it resolves. From then on what became of it is known to nobody
   * but the store, so a batch whose process ends comes again with the same id, however often that happens.
   *
   * @param blocks parts of the table that the insert makes at most: each counts in the store's window of remembered tokens
   * @throws BatchLost
   */
  beginInsert(batch: IngestBatch, blocks: number): Promise<void>;
  /** The batch is stored. Recorded, not synced at once: after a crash it may come again with the same id. @throws BatchLost */
  done(batch: IngestBatch): void;
  /** A dependency is away: the same batch with the same id again after `delayMs`, as often as it takes. @throws BatchLost */
  retry(batch: IngestBatch, delayMs: number): void;
  /**
   * Replaces a batch durably by two halves with new ids, which are due at once. Only where no insert
   * was begun, or after one that was certainly refused as a whole; after an unknown outcome use `retry`, or rows are stored
   * twice.
   *
   * @throws PermanentError for a batch of one entry, BatchLost
   */
  split(batch: IngestBatch): Promise<void>;
  /** Moves the batch's entries with the reason to the failed set, durably. The queue goes on. @throws BatchLost */
  fail(batch: IngestBatch, reason: string): Promise<void>;
  failed(): Promise<FailedEntry[]>;
  /** Puts failed entries (all, or the given ids) back into the queue; returns how many. */
  retryFailed(ids?: readonly string[]): Promise<number>;
  /**
   * Deletes failed entries for good; returns how many.
   *
   * @param record is told of the entries once it is durable that they are discarded and before they are gone; after a crash
   *   in between, or when it throws, they are listed as `isDiscarded`, and this is to be called for them again
   */
  discardFailed(
    ids: readonly string[],
    record?: (entries: readonly FailedEntry[]) => Promise<void>,
  ): Promise<number>;
  /** Nothing is given out until `resume`, in any process that shares the queue; adding goes on. Survives restarts. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** @throws AppError UNAVAILABLE when Redis is away */
  stats(): QueueStats | Promise<QueueStats>;
  /** What waits, by signal and tenant (planned batches included). @throws AppError UNAVAILABLE when Redis is away */
  waiting(): WaitingLane[] | Promise<WaitingLane[]>;
  /** Refuses new entries, makes everything pending durable, ends waiting `take`s with undefined, releases. */
  close(): Promise<void>;
}
