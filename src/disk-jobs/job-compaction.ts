import type { Report } from '../journal/report.js';
import type { Segment } from '../journal/segment.js';
import type { JobBook } from './job-book.js';
import type { JobLog } from './job-log.js';
import { type JobEvent, jobEvent } from './job-records.js';

export interface CompactionOptions {
  log: JobLog;
  books: readonly JobBook[];
  /** Segments that hold something this program must not delete. */
  pinned: ReadonlySet<Segment>;
  /** Dead bytes that are worth a snapshot, if they are also more than the live ones. */
  minDeadBytes: number;
  /** A snapshot up to this size may use the space kept back for a full disk: it is what makes room then. */
  reserveBytes: number;
  lastNumber(): number;
  report: Report;
}

/** Jobs of a snapshot between two looks at what else there is to do. */
const CHUNK_CHARS = 256 * 1024;
const MAX_SEGMENTS = 64;
const RETRY_MS = 10_000;

/**
 * Keeps the journal short: says everything that is live again in a new segment and deletes those before it.
 *
 * Work goes on meanwhile. Each job is said as it is at that moment and what happens to it later comes later in the
 * journal, so the snapshot need not be of one moment. It begins in a segment of its own, and what was added in older
 * ones is known by then, because records become durable in their order. A crash before `end` is durable leaves the old
 * segments and a part that says the same; after it, whatever is left of the old ones does not count. They go one
 * at a time, the oldest first, each deletion synced.
 */
export class JobCompaction {
  private running: Promise<void> | undefined;
  private isStopped = false;
  private notBeforeMs = Number.NEGATIVE_INFINITY;
  /** What the last snapshot took. */
  private snapshotBytes = 0;
  /** Appended before the last snapshot ended. */
  private bytesBefore = 0;

  constructor(private readonly options: CompactionOptions) {
    options.log.onGrown = () => this.look();
  }

  /** Begins a snapshot if it is worth it; cheap to call often. */
  look(): void {
    if (this.running || this.isStopped || !this.isWorthIt()) return;
    this.running = this.run()
      .catch((error) => {
        this.notBeforeMs = performance.now() + RETRY_MS;
        if (this.isStopped) return;
        this.options.report({
          kind: 'problem',
          message: 'Cannot shorten the journal of the jobs now',
          error,
        });
      })
      .finally(() => {
        this.running = undefined;
      });
  }

  /** Begins nothing new. */
  stop(): void {
    this.isStopped = true;
  }

  /** Resolves when nothing is being written or deleted. */
  async idle(): Promise<void> {
    await this.running;
  }

  private isWorthIt(): boolean {
    const { log, books, minDeadBytes, pinned } = this.options;
    if (performance.now() < this.notBeforeMs) return false;
    // Whatever was estimated: not again before as much was written as the last snapshot took.
    const since = log.journal.appendedBytes - this.bytesBefore;
    if (this.bytesBefore > 0 && since < minDeadBytes + this.snapshotBytes) return false;
    const { bytes } = log;
    // Each start begins a file, however little is written.
    if (log.segments.length - pinned.size > MAX_SEGMENTS && bytes < minDeadBytes) return true;
    let live = 0;
    for (const book of books) live += book.weight;
    return bytes - live > Math.max(minDeadBytes, live);
  }

  private async run(): Promise<void> {
    const { log, lastNumber } = this.options;
    if (log.journal.active) log.journal.active.sealed = true;
    const { segment: first } = await log.commit(['begin', lastNumber()]);
    const appendedBefore = log.journal.appendedBytes;
    if (!(await this.say())) return;
    await log.commit(['end', lastNumber()]);
    this.bytesBefore = log.journal.appendedBytes;
    this.snapshotBytes = this.bytesBefore - appendedBefore;
    await this.removeBefore(first.sequence);
  }

  /** Writes the snapshot; false when it was stopped. */
  private async say(): Promise<boolean> {
    for (const book of this.options.books) {
      const { name, isPaused, completedCount, failures, busyMs } = book;
      const events: JobEvent[] = [['queue', name, isPaused, completedCount, failures, busyMs]];
      for (const [key, { cron, text, fired }] of book.repeats)
        events.push(['repeat', name, key, cron, text, fired]);
      await this.write(events);
      // What is added from now on is in the new segments anyway.
      const jobs = [...book.ids.values()];
      for (let at = 0; at < jobs.length; ) {
        if (this.isStopped) return false;
        const chunk: JobEvent[] = [];
        for (let chars = 0; at < jobs.length && chars < CHUNK_CHARS; at++) {
          if (jobs[at].state === 'gone') continue;
          chunk.push(jobEvent(jobs[at]));
          chars += jobs[at].text.length + (jobs[at].result?.length ?? 0);
        }
        if (chunk.length > 0) await this.write(chunk);
      }
    }
    return !this.isStopped;
  }

  private async write(events: JobEvent[]): Promise<void> {
    const { log, books, reserveBytes } = this.options;
    let live = 0;
    for (const book of books) live += book.weight;
    if (live * 2 < reserveBytes) await log.commit(...events);
    else await log.tryCommit(...events);
  }

  private async removeBefore(sequence: number): Promise<void> {
    const { log, pinned } = this.options;
    for (const segment of [...log.segments]) {
      if (segment.sequence >= sequence || pinned.has(segment)) continue;
      if (this.isStopped) return;
      await segment.remove();
      log.segments.splice(log.segments.indexOf(segment), 1);
    }
  }
}
