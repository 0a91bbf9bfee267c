import { randomBytes } from 'node:crypto';
import { ensureDirectory, removeIfThere } from '../journal/durable-files.js';
import { type FileSystem, realFileSystem } from '../journal/file-system.js';
import { recoverJournal } from '../journal/recovery.js';
import type { Report } from '../journal/report.js';
import { SpaceReserve } from '../journal/space-reserve.js';
import { type AllQueueNumbers, QUEUE_NAMES, type QueueName } from '../queue-numbers.js';
import { type JobClock, systemClock } from './job.js';
import { JobBook } from './job-book.js';
import { JobCompaction } from './job-compaction.js';
import { JobLog } from './job-log.js';
import type { JobEvent } from './job-records.js';
import { JobReplay } from './job-replay.js';
import { type LeftRunning, RunningTable } from './running-table.js';

const MIB = 1024 * 1024;
/** Deaths of the process in a row, with the same job running, after which the job is not run again. */
const MAX_DEATHS = 2;
const POISON = 'The process died while it ran, twice in a row';

export interface DiskJobsOptions {
  /** Owned by this process alone; the program locks it. */
  directory: string;
  numbers: AllQueueNumbers;
  segmentBytes?: number;
  /** Dead bytes in the journal that are worth a snapshot. */
  minDeadBytes?: number;
  /** Space kept back so that it can be noted what is done when the disk is full. */
  reserveBytes?: number;
  /** How long a note that nobody waits for may wait to share a sync. */
  lazyMs?: number;
  /** Pause after a failure of the disk. */
  retryMs?: number;
  fs?: FileSystem;
  clock?: JobClock;
  report?: Report;
}

const DEFAULTS = {
  segmentBytes: 32 * MIB,
  minDeadBytes: 64 * MIB,
  reserveBytes: 4 * MIB,
  lazyMs: 50,
  retryMs: 250,
  fs: realFileSystem,
  clock: systemClock,
  report: () => undefined,
} satisfies Partial<DiskJobsOptions>;

export interface JobParts {
  settings: Required<DiskJobsOptions>;
  books: ReadonlyMap<QueueName, JobBook>;
  log: JobLog;
  compaction: JobCompaction;
  table: RunningTable | undefined;
  /** The number of the last job that was added. */
  counter: { last: number };
}

/** Opens or creates the directory and rebuilds what is known. Damage is reported, never thrown. */
export async function startJobs(options: DiskJobsOptions): Promise<JobParts> {
  const settings = { ...DEFAULTS, ...options };
  const { fs, directory, numbers, clock, report, reserveBytes } = settings;
  await fs.makeDirectory(directory);
  const segments = await ensureDirectory(fs, directory, 'segments');
  const corrupt = await ensureDirectory(fs, directory, 'corrupt');
  const replay = new JobReplay(numbers);
  const consume = (_: unknown, record: Parameters<JobReplay['add']>[0]) => replay.add(record);
  const recovered = await recoverJournal(fs, segments, corrupt, consume, report);
  const verdict = judge(replay, await leftRunning(fs, directory, report), clock.wallMs());
  for (const event of verdict) replay.apply(event);
  const books = new Map(QUEUE_NAMES.map((name) => [name, new JobBook(name, numbers[name], clock)]));
  replay.finish(books, clock, report);
  const reserve = new SpaceReserve(fs, directory, reserveBytes, settings.retryMs);
  await reserve.restore();
  const log = new JobLog({ ...settings, directory: segments, segments: recovered.segments, reserve });
  await log.start();
  const counter = { last: replay.lastNumber };
  const compaction = new JobCompaction({
    ...settings,
    log,
    books: [...books.values()],
    pinned: recovered.pinned,
    lastNumber: () => counter.last,
  });
  // Before the table that it is about is replaced, or the death would not count.
  if (verdict.length > 0) await writeDown(log, verdict);
  const table = await newTable(fs, directory, report);
  compaction.look();
  return { settings, books, log, compaction, table, counter };
}

/** What becomes of the jobs that ran when the process before died. */
function judge(replay: JobReplay, left: LeftRunning | undefined, nowMs: number): JobEvent[] {
  if (!left || left.epoch === replay.accountedEpoch) return [];
  const jobs = left.numbers.map((number) => replay.open(number)).filter((job) => job !== undefined);
  if (jobs.length === 0) return [];
  const events: JobEvent[] = [['died', left.epoch, jobs.map(({ number }) => number)]];
  for (const { number, attempts, deaths } of jobs)
    if (deaths + 1 >= MAX_DEATHS) events.push(['fail', number, attempts + 1, nowMs, POISON, false]);
  return events;
}

async function leftRunning(
  fs: FileSystem,
  directory: string,
  report: Report,
): Promise<LeftRunning | undefined> {
  try {
    return await RunningTable.left(fs, directory);
  } catch (error) {
    report({ kind: 'problem', message: 'Cannot read which jobs were running', error });
    return undefined;
  }
}

/** In one record, and tried once: a disk that fails now must not keep the program from starting. */
async function writeDown(log: JobLog, events: readonly JobEvent[]): Promise<void> {
  log.commit(...events).catch(() => undefined);
  log.flush();
  await log.journal.flush();
}

async function newTable(
  fs: FileSystem,
  directory: string,
  report: Report,
): Promise<RunningTable | undefined> {
  const tell = (error: unknown) =>
    report({ kind: 'problem', message: 'Cannot note which jobs are running', error });
  try {
    return await RunningTable.begin(fs, directory, randomBytes(6).readUIntLE(0, 6), tell);
  } catch (error) {
    tell(error);
    // The old one speaks of a process that is accounted for.
    await removeIfThere(fs, `${directory}/running`).catch(tell);
    return undefined;
  }
}
