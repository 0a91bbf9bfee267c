import { AppError } from '../errors.js';
import type { FileSystem } from '../journal/file-system.js';
import { type Append, Journal, type Place } from '../journal/journal.js';
import { type Report, reportSeldom } from '../journal/report.js';
import type { Segment } from '../journal/segment.js';
import type { SpaceReserve } from '../journal/space-reserve.js';
import { EVENTS, encodeEvents, type JobEvent } from './job-records.js';

export interface JobLogOptions {
  fs: FileSystem;
  directory: string;
  segments: readonly Segment[];
  segmentBytes: number;
  lazyMs: number;
  retryMs: number;
  reserve: SpaceReserve;
  report: Report;
}

/** Damage in the middle of a file takes a record; so much is as far as that goes. */
const MAX_RECORD_CHARS = 64 * 1024;
const MAX_GROUP_BYTES = 4 * 1024 * 1024;

/** One or more events that become durable together. */
interface Entry {
  text: string;
  /** Jobs that are added: what is refused must not come back after a crash. */
  numbers: readonly number[];
  control: boolean;
  urgent: boolean;
  onDurable?(place: Place): void;
  onRefused?(error: unknown): void;
}

interface JobAppend extends Append {
  numbers: readonly number[];
}

/** What happened to the jobs, into the journal: what comes in one turn of the event loop shares records. */
export class JobLog {
  readonly journal: Journal;
  /** All files, the oldest first. */
  readonly segments: Segment[];
  /** Called whenever something became durable. */
  onGrown: () => void = () => undefined;
  private entries: Entry[] = [];
  private lastId = 0;

  constructor(private readonly options: JobLogOptions) {
    this.segments = [...options.segments];
    this.journal = new Journal({
      ...options,
      firstSequence: (this.segments.at(-1)?.sequence ?? 0) + 1,
      maxGroupBytes: MAX_GROUP_BYTES,
      onUncertain: (records) => this.disown(records as readonly JobAppend[]),
      onProblem: reportSeldom(options.report, 'Cannot write to the journal of the jobs'),
    });
    this.journal.created = (segment) => this.segments.push(segment);
  }

  get bytes(): number {
    let bytes = 0;
    for (const segment of this.segments) bytes += segment.bytes;
    return bytes;
  }

  /** Begins a segment; a full disk is no reason not to start. */
  async start(): Promise<void> {
    try {
      await this.journal.prepare();
    } catch (error) {
      this.options.report({ kind: 'problem', message: 'Cannot begin a journal segment yet', error });
    }
  }

  /**
   * New jobs. `onDurable` is called in the same step as all of them become durable.
   *
   * @throws AppError UNAVAILABLE when the disk takes none, SHUTTING_DOWN
   */
  add(events: readonly JobEvent[], numbers: readonly number[], onDurable: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.push({
        text: join(events),
        numbers,
        control: false,
        urgent: true,
        onDurable: () => {
          onDurable();
          resolve();
        },
        onRefused: (error) => reject(unavailable(error)),
      });
    });
  }

  /** Durable soon: what is lost with a crash before only makes a job run again. */
  note(event: JobEvent): void {
    this.push({ text: JSON.stringify(event), numbers: [], control: true, urgent: false });
  }

  /** Resolves when they are durable, however long that takes. @throws AppError SHUTTING_DOWN */
  commit(...events: JobEvent[]): Promise<Place> {
    return this.write(events, true);
  }

  /** The same, but given up when there is no room. @throws AppError UNAVAILABLE, SHUTTING_DOWN */
  tryCommit(...events: JobEvent[]): Promise<Place> {
    return this.write(events, false);
  }

  private write(events: readonly JobEvent[], control: boolean): Promise<Place> {
    return new Promise((onDurable, reject) => {
      const onRefused = (error: unknown) => reject(unavailable(error));
      this.push({ text: join(events), numbers: [], control, urgent: true, onDurable, onRefused });
    });
  }

  /** Makes everything durable as far as possible and stops. */
  async close(): Promise<void> {
    this.flush();
    await this.journal.flush();
    this.journal.stop();
  }

  /** Closes all files. */
  async release(): Promise<void> {
    for (const segment of this.segments) await segment.release();
  }

  /** Hands what has gathered to the journal. */
  flush(): void {
    const entries = this.entries;
    this.entries = [];
    for (let from = 0, to = 0; from < entries.length; from = to) {
      const { control } = entries[from];
      let chars = 0;
      while (to < entries.length && entries[to].control === control && chars < MAX_RECORD_CHARS)
        chars += entries[to++].text.length;
      this.append(entries.slice(from, to));
    }
  }

  private push(entry: Entry): void {
    this.entries.push(entry);
    // After everything that is under way now, promises included.
    if (this.entries.length === 1) process.nextTick(() => this.flush());
  }

  private append(entries: readonly Entry[]): void {
    const record: JobAppend = {
      type: EVENTS,
      id: ++this.lastId,
      payload: [encodeEvents(entries.map(({ text }) => text))],
      control: entries[0].control,
      numbers: entries.flatMap(({ numbers }) => numbers),
      onDurable: (place) => {
        for (const entry of entries) entry.onDurable?.(place);
        this.onGrown();
      },
      onRefused: (error) => {
        for (const entry of entries) entry.onRefused?.(error);
      },
    };
    this.journal.append(
      record,
      entries.some(({ urgent }) => urgent),
    );
  }

  /** Jobs that were refused although their bytes may be found: said before anything else is acknowledged. */
  private disown(records: readonly JobAppend[]): void {
    const numbers = records.flatMap((record) => (record.control ? [] : record.numbers));
    if (numbers.length === 0) return;
    this.journal.appendFirst({
      type: EVENTS,
      id: ++this.lastId,
      payload: [encodeEvents([JSON.stringify(['gone', numbers] satisfies JobEvent)])],
      control: true,
      onDurable: () => undefined,
    });
  }
}

function join(events: readonly JobEvent[]): string {
  return events.map((event) => JSON.stringify(event)).join(',');
}

function unavailable(cause: unknown): AppError {
  if (cause instanceof AppError) return cause;
  return new AppError('UNAVAILABLE', 'The disk takes no more jobs', { retryAfterSeconds: 1, cause });
}
