import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import {
  decodeLog,
  LOG_COLUMNS,
  LOG_IDENTITY,
  type LogQuestion,
  type LogRecord,
  type LogRow,
  restrictLogs,
} from './logs.js';
import { Asking, TELEMETRY_TABLES, Where } from './statement.js';
import { rowHash } from './time-ordered.js';

/** How late after its own time a record may come and still be shown. */
export const LATE_SECONDS = 60;
/** A tail that is further behind leaves records out, and says so. */
export const MAX_BEHIND_SECONDS = 3600;
const ROWS_AT_ONCE = 500;
/** Records of one second that a tail can follow. */
const MAX_IN_SECOND = 10_000;
/** Records that are known to have been given; the oldest seconds are let go first, and with them what comes late into them. */
const MAX_REMEMBERED = 20_000;
const NS = 1_000_000_000n;
const SECOND = `intDiv(toUnixTimestamp64Nano(timestamp), ${NS})`;
const HASH = rowHash(LOG_IDENTITY);

export interface TailedRecord {
  /** 1, 2, 3 ... in the order they were given. */
  sequence: number;
  /** By which it is ordered. */
  timeNs: string;
  record: LogRecord;
}

/** What was left out, for which reason. */
export interface Gap {
  from_unix_nano: string;
  to_unix_nano: string;
  reason: string;
}

export interface Tailed {
  records: TailedRecord[];
  gaps: Gap[];
  /** There is more to be had at once. */
  more: boolean;
}

/** Records of one second that were given: their keys, each with the sequence numbers of its copies. */
interface Given {
  keys: Map<string, number[]>;
  /** Infinity: more than can be followed. */
  rows: number;
  /** When the last of them was given. */
  atSecond: number;
}

/**
 * The records that match from a point in time on, each once, as they come. The store keeps them in the order of their own time and not
 * in that of their arrival, so a tail remembers what it gave of the last minute, counts what is there now second by second, and
 * looks closer at the seconds that have more.
 */
export class LogTail {
  private readonly given = new Map<number, Given>();
  private remembered = 0;
  private sequence = 0;
  /** Of the latest record that is not remembered any more. */
  private forgotten = 0;
  /** Everything before this second is done with. */
  private horizon: number;

  constructor(
    private readonly scope: Scope,
    private readonly clickhouse: ClickHouse,
    private readonly question: Omit<LogQuestion, 'order'>,
    private readonly fromNs: bigint,
  ) {
    this.horizon = Number(fromNs / NS);
  }

  /**
   * What has come since, the oldest first, 500 records at most.
   *
   * @throws AppError as `Asking.rows` does; the same poll can then be tried again
   */
  async poll(nowMs: number, signal?: AbortSignal): Promise<Tailed> {
    const asking = new Asking(this.clickhouse, signal);
    const nowSecond = Math.floor(nowMs / 1000);
    const gaps = this.letGo(nowSecond);
    const changed = await this.changedSeconds(asking, gaps);
    const keys = await this.newKeys(asking, changed);
    const records = await this.read(asking, keys.slice(0, ROWS_AT_ONCE), nowSecond);
    const more = keys.length > ROWS_AT_ONCE || changed.more;
    this.advance(nowSecond, more ? changed.seconds[0] : Infinity);
    return { records, gaps, more };
  }

  /**
   * Forgets what was given after a record, so that it is given again: the caller never got it.
   *
   * @returns false when some of it cannot be given again, as it is too long ago
   */
  rewind(sequence: number): boolean {
    for (const given of this.given.values()) {
      for (const [key, copies] of given.keys) {
        const kept = copies.filter((copy) => copy <= sequence);
        given.rows -= copies.length - kept.length;
        this.remembered -= copies.length - kept.length;
        if (kept.length > 0) given.keys.set(key, kept);
        else given.keys.delete(key);
      }
    }
    return sequence >= this.forgotten;
  }

  private letGo(nowSecond: number): Gap[] {
    const oldest = nowSecond - MAX_BEHIND_SECONDS;
    if (this.horizon >= oldest) return [];
    const gap = gapOf(this.horizon, oldest, 'The tail is more than an hour behind.');
    this.drop(oldest);
    return [gap];
  }

  /** Seconds with more rows than were given, the oldest first, as many as can be looked at in one go. */
  private async changedSeconds(asking: Asking, gaps: Gap[]): Promise<{ seconds: number[]; more: boolean }> {
    const where = this.where(this.horizon, undefined);
    const statement = `SELECT ${SECOND} AS second, count() AS rows FROM ${TELEMETRY_TABLES.logs} WHERE ${where}
GROUP BY second ORDER BY second`;
    const seconds: number[] = [];
    let total = 0;
    for (const { second, rows } of await asking.rows<{ second: string; rows: string }>(statement, where)) {
      const [at, count] = [Number(second), Number(rows)];
      const given = this.given.get(at);
      if (count <= (given?.rows ?? 0)) continue;
      if (count > MAX_IN_SECOND) {
        if (given?.rows === Infinity) continue;
        gaps.push(gapOf(at, at + 1, `${count} records of one second match; add filters.`));
        this.remembered -= given?.rows ?? 0;
        this.given.set(at, { keys: new Map(), rows: Infinity, atSecond: 0 });
        continue;
      }
      if (total + count > MAX_IN_SECOND) return { seconds, more: true };
      total += count;
      seconds.push(at);
    }
    return { seconds, more: false };
  }

  /** Keys of rows that were not given yet, in the order of their time; a key comes as often as there are new copies. */
  private async newKeys(asking: Asking, { seconds }: { seconds: number[] }): Promise<string[]> {
    if (seconds.length === 0) return [];
    const where = this.where(seconds[0], seconds[seconds.length - 1]);
    where.and(`${SECOND} IN ${where.bind('Array(Int64)', seconds)}`);
    const statement = `SELECT toString(toUnixTimestamp64Nano(timestamp)) AS time, toString(${HASH}) AS hash
FROM ${TELEMETRY_TABLES.logs} WHERE ${where} ORDER BY timestamp, ${HASH} LIMIT ${where.bind('UInt32', 2 * MAX_IN_SECOND)}`;
    const seen = new Map<string, number>();
    const keys: string[] = [];
    for (const { time, hash } of await asking.rows<{ time: string; hash: string }>(statement, where)) {
      const key = `${time},${hash}`;
      const copies = (seen.get(key) ?? 0) + 1;
      seen.set(key, copies);
      const given = this.given.get(secondOf(key))?.keys.get(key)?.length ?? 0;
      if (copies > given) keys.push(key);
    }
    return keys;
  }

  /** The rows of these keys, remembered as given. */
  private async read(asking: Asking, keys: string[], nowSecond: number): Promise<TailedRecord[]> {
    if (keys.length === 0) return [];
    const where = this.where(secondOf(keys[0]), secondOf(keys[keys.length - 1]));
    const parts = (index: number) => [...new Set(keys.map((key) => key.split(',')[index]))];
    where.and(`toUnixTimestamp64Nano(timestamp) IN ${where.bind('Array(Int64)', parts(0))}`);
    where.and(`${HASH} IN ${where.bind('Array(UInt64)', parts(1))}`);
    const wanted = new Map<string, number>();
    for (const key of keys) wanted.set(key, (wanted.get(key) ?? 0) + 1);
    const statement = `SELECT toString(reinterpretAsUInt64(timestamp)) AS time_unix_nano, toString(${HASH}) AS row_hash,
  ${LOG_COLUMNS} FROM ${TELEMETRY_TABLES.logs} WHERE ${where} ORDER BY timestamp, ${HASH}`;
    const records: TailedRecord[] = [];
    for (const row of await asking.rows<LogRow>(statement, where)) {
      const key = `${row.time_unix_nano},${row.row_hash}`;
      const left = wanted.get(key) ?? 0;
      if (left === 0) continue;
      wanted.set(key, left - 1);
      records.push({
        sequence: this.remember(key, nowSecond),
        timeNs: row.time_unix_nano,
        record: decodeLog(row),
      });
    }
    return records;
  }

  private remember(key: string, nowSecond: number): number {
    const second = secondOf(key);
    let given = this.given.get(second);
    if (!given) {
      given = { keys: new Map(), rows: 0, atSecond: nowSecond };
      this.given.set(second, given);
    }
    this.sequence++;
    given.atSecond = nowSecond;
    given.rows++;
    this.remembered++;
    given.keys.set(key, [...(given.keys.get(key) ?? []), this.sequence]);
    return this.sequence;
  }

  /**
   * Lets go of seconds that are over: nothing comes into them any more, and what was given has reached the caller, or there is too much to
   * remember. Those from `pending` on are kept.
   */
  private advance(nowSecond: number, pending: number): void {
    const settled = nowSecond - LATE_SECONDS;
    let keep = Math.min(settled, pending);
    for (const at of [...this.given.keys()].sort((a, b) => a - b)) {
      const isOver = at < settled && this.given.get(at)!.atSecond < settled;
      if (at >= pending || !(isOver || this.remembered > MAX_REMEMBERED)) {
        keep = Math.min(keep, at);
        break;
      }
      keep = Math.max(keep, at + 1);
      this.forget(at);
    }
    this.horizon = Math.max(this.horizon, Math.min(keep, pending));
  }

  private drop(before: number): void {
    for (const at of [...this.given.keys()]) if (at < before) this.forget(at);
    this.horizon = before;
  }

  private forget(second: number): void {
    const { keys, rows } = this.given.get(second)!;
    if (rows !== Infinity) this.remembered -= rows;
    for (const copies of keys.values()) this.forgotten = Math.max(this.forgotten, ...copies);
    this.given.delete(second);
  }

  /** @param last second, included; undefined: whatever lies ahead, too */
  private where(first: number, last: number | undefined): Where {
    const firstNs = BigInt(first) * NS;
    const toNs = last === undefined ? MAX_NS : BigInt(last + 1) * NS;
    const where = new Where(this.scope).withinSteps({
      fromNs: firstNs > this.fromNs ? firstNs : this.fromNs,
      toNs,
    });
    restrictLogs(where, this.question);
    return where;
  }
}

/** Rows lie an hour ahead of the clock at most; this is the last step that there is. */
const MAX_NS = 4_294_000_000n * NS;

const secondOf = (key: string) => Number(BigInt(key.slice(0, key.indexOf(','))) / NS);

function gapOf(from: number, to: number, reason: string): Gap {
  return { from_unix_nano: String(BigInt(from) * NS), to_unix_nano: String(BigInt(to) * NS), reason };
}
