import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { ensureDirectory, readWhole, writeDurably } from '../journal/durable-files.js';
import { type FileSystem, realFileSystem } from '../journal/file-system.js';
import { type Recovered, recoverJournal } from '../journal/recovery.js';
import type { Report } from '../journal/report.js';
import { SeenBodies } from '../journal/seen-bodies.js';
import { SpaceReserve } from '../journal/space-reserve.js';
import { BodyPool } from '../memory/body-pool.js';
import { Backlog } from './backlog.js';
import { FailedSet } from './failed-set.js';
import { PauseFlag, StartRate } from './gate.js';
import { ownerKey } from './lanes.js';
import { QueueJournal } from './queue-journal.js';
import { Replay } from './replay.js';
import { SegmentLedger } from './segment-ledger.js';
import { type Batch, costOf, type StoredEntry, storedEntry } from './stored-entry.js';

const MIB = 1024 * 1024;

export interface DiskQueueOptions {
  /** Owned by this process alone; the program locks it. */
  directory: string;
  /** Over it `add` throws BACKLOG_FULL. */
  maxBacklogBytes: number;
  /** Where bodies come from and go back to. */
  bodies?: BodyPool;
  /** Bodies kept in memory for the worker; others are read back from disk. */
  maxMemoryBytes?: number;
  /** Bodies that are being written; more are refused, since they are only in memory. */
  maxPendingBytes?: number;
  segmentBytes?: number;
  /** Space kept back so that the backlog can drain when the disk is full. */
  reserveBytes?: number;
  maxGroupBytes?: number;
  /** How long a record that is not urgent waits to share a sync. */
  lazyMs?: number;
  /** Pause after a failure of the disk. */
  retryMs?: number;
  /** Batches given out in a second. */
  perSecond?: number;
  fs?: FileSystem;
  /** Wall clock, for the ten minutes of duplicates. */
  nowMs?: () => number;
  report?: Report;
}

const DEFAULTS = {
  maxMemoryBytes: 64 * MIB,
  maxPendingBytes: 64 * MIB,
  segmentBytes: 64 * MIB,
  reserveBytes: 8 * MIB,
  maxGroupBytes: 8 * MIB,
  lazyMs: 100,
  retryMs: 250,
  perSecond: Number.POSITIVE_INFINITY,
  fs: realFileSystem,
  nowMs: Date.now,
  report: () => undefined,
} satisfies Partial<DiskQueueOptions>;

export type Settings = Required<DiskQueueOptions>;

export interface QueueParts {
  settings: Settings;
  backlog: Backlog;
  ledger: SegmentLedger;
  journal: QueueJournal;
  failed: FailedSet;
  seen: SeenBodies;
  reserve: SpaceReserve;
  pause: PauseFlag;
  rate: StartRate;
  damaged: number;
  unknown: number;
  /** Start of every batch id made by this process: never used before, by this directory or a copy of it. */
  idPrefix: string;
}

/** Opens the directory, rebuilds the state and begins a new segment. Damage is reported, never thrown. */
export async function startQueue(options: DiskQueueOptions): Promise<QueueParts> {
  const settings: Settings = { ...DEFAULTS, bodies: new BodyPool(), ...options };
  const { fs, directory, report, nowMs } = settings;
  await fs.makeDirectory(directory);
  const segments = await ensureDirectory(fs, directory, 'segments');
  const corrupt = await ensureDirectory(fs, directory, 'corrupt');
  const seen = new SeenBodies(fs, await ensureDirectory(fs, directory, 'seen'), nowMs);
  const failed = new FailedSet(fs, await ensureDirectory(fs, directory, 'failed'));
  const replay = new Replay();
  const recovered = await recoverJournal(fs, segments, corrupt, (...found) => replay.add(...found), report);
  replay.finish();
  await seen.load((name) => report({ kind: 'problem', message: `Seen bodies in ${name} are damaged` }));
  const backlog = new Backlog(settings.maxMemoryBytes, settings.bodies);
  const ledger = new SegmentLedger();
  restore(replay, recovered, backlog, ledger, seen);
  await failed.load(new Set(backlog.batches.keys()), replay.requeued(), report);
  const reserve = new SpaceReserve(fs, directory, settings.reserveBytes, settings.retryMs);
  await reserve.restore();
  const journal = new QueueJournal({
    ...settings,
    directory: segments,
    firstSequence: (recovered.segments.at(-1)?.sequence ?? 0) + 1,
    lastId: replay.lastId,
    reserve,
    ledger,
    batches: backlog.batches,
    persistSeen: () => seen.persist(),
  });
  await journal.start();
  const { damaged, unknown } = recovered;
  const pause = await PauseFlag.load(fs, directory);
  const rate = new StartRate(settings.perSecond);
  const idPrefix = `${await identity(fs, directory, report)}-${randomBytes(6).toString('hex')}`;
  return {
    settings,
    backlog,
    ledger,
    journal,
    failed,
    seen,
    reserve,
    pause,
    rate,
    damaged,
    unknown,
    idPrefix,
  };
}

/** Written once with the directory. If it is lost a new one does: ids also carry a number drawn at every start. */
async function identity(fs: FileSystem, directory: string, report: Report): Promise<string> {
  const path = join(directory, 'identity');
  try {
    const text = (await readWhole(fs, path)).toString('latin1').trim();
    if (/^[0-9a-f]{16}$/.test(text)) return text;
  } catch {
    // Not there yet, or not readable: both get a new one.
  }
  const text = randomBytes(8).toString('hex');
  try {
    await writeDurably(fs, path, [Buffer.from(`${text}\n`)]);
  } catch (error) {
    report({
      kind: 'problem',
      message: 'Cannot write the identity of the queue; it gets another one',
      error,
    });
  }
  return text;
}

function restore(
  replay: Replay,
  { segments, pinned }: Recovered,
  backlog: Backlog,
  ledger: SegmentLedger,
  seen: SeenBodies,
): void {
  for (const segment of segments) ledger.open(segment, pinned.has(segment));
  for (const [from, abouts] of replay.references) for (const about of abouts) ledger.refer(from, about);
  for (const { signal, scope, contentHash, addedAtMs, rejected, note } of replay.accepted()) {
    if (contentHash === '') continue;
    seen.add({
      key: seen.key(ownerKey(signal, scope), Buffer.from(contentHash, 'hex')),
      addedAtMs,
      rejected,
      note,
    });
  }
  const entries = new Map<number, StoredEntry>();
  for (const replayed of replay.entries()) {
    const entry = storedEntry(replayed, Number.NEGATIVE_INFINITY);
    entries.set(entry.id, entry);
    ledger.stored(entry);
    backlog.count(entry);
    backlog.costBytes += costOf(entry.bodyBytes);
  }
  for (const { planned, planSegment, entries: members } of replay.batches()) {
    const batch: Batch = {
      id: planned.id,
      signal: members[0].meta.signal,
      scope: members[0].meta.scope,
      entries: members.map(({ id }) => entries.get(id)).filter((entry) => entry !== undefined),
      attempt: planned.attempt,
      interruptions: planned.interruptions + (planned.out && !planned.begun ? 1 : 0),
      holder: undefined,
      dueAtMs: Number.NEGATIVE_INFINITY,
      givenAtMs: 0,
      planSegment,
      isRecorded: false,
      hasBegun: planned.begun ?? false,
      isSplitting: false,
      hasLeftovers: false,
    };
    backlog.batches.set(batch.id, batch);
    backlog.ready[batch.signal].push(batch);
    for (const { id } of members) entries.delete(id);
  }
  for (const entry of entries.values()) backlog.lanes[entry.signal].add(entry);
}
