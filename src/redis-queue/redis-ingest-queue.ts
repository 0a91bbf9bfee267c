import type { Logger } from 'pino';
import {
  openRedis,
  type Redis,
  type RedisScript,
  type RedisSubscription,
  runScript,
  type ScriptValue,
  subscribeRedis,
} from '../connections/redis.js';
import { AppError } from '../errors.js';
import type { BodyPool } from '../memory/body-pool.js';
import type {
  AddResult,
  FailedEntry,
  IngestBatch,
  IngestEntry,
  IngestQueue,
  QueueStats,
  TakeLimits,
  WaitingLane,
} from '../queue/ingest-queue.js';
import { SIGNALS, type Signal } from '../signal.js';
import { EntryWriter } from './entry-writer.js';
import { DISCARD_FAILED, LIST_FAILED, MARK_DISCARDED, RETRY_FAILED } from './failed-scripts.js';
import { scopeOfLane } from './lane.js';
import { SET_PAUSED, STATS, WAITING } from './look-scripts.js';
import { RedisBatchDesk } from './redis-batch-desk.js';
import { asAppError } from './redis-errors.js';
import { RedisWatch } from './redis-watch.js';
import { PREFIX } from './script.js';

/** Redis database of the queues, unless the URL names one. */
const QUEUE_DATABASE = 2;
/** What `STATS` and `WAITING` answer. */
type Stats = [number, number, number, string[], number, number, number];
type Waiting = [[Signal, string, string, string, number], string[]];

/** Ids that one script goes through. */
const MAX_IDS = 500;

export interface RedisQueueOptions {
  url: string;
  /** Over it, in all processes together, `add` throws BACKLOG_FULL. */
  maxBacklogBytes: number;
  /** Batches given out in a second, by all processes together. */
  perSecond: number;
  /** Where bodies come from and go back to. */
  bodies: BodyPool;
  log: Pick<Logger, 'error' | 'warn' | 'info'>;
}

/** What Redis adds to the figures. */
export interface RedisQueueStats extends QueueStats {
  /** Memory of Redis in bytes, as it said last; `maxBytes` 0: no limit. */
  redisMemory: { usedBytes: number; maxBytes: number };
  /** What waited when Redis lost everything, as far as somebody had seen it; since the last such loss. */
  lostEntries: number;
  lostItems: number;
}

/**
 * The ingestion queue in Redis, for any number of processes that add and take; ingest-queue.ts says what it promises. Every
 * change is one script, which Redis runs whole or not at all, so the way of an entry has these states only:
 *
 * 1. `add` (entry-writer.ts): not there, or waiting in its lane with its body and known as seen, at once. The client that got no answer sends
 *    it again and is told of the first one.
 * 2. `take`: waiting, or part of a plan with an id and a holder, whose lease ends by Redis' clock unless it is renewed. Then another
 *    process is given the same id and entries, so whoever inserts repeats the same insert with the same token.
 * 3. `beginInsert`: asks whether the plan is still the caller's just before it inserts. A process that slept past its lease stops here; one
 *    that falls asleep within the insert repeats one that the store knows, as long as it remembers the token: it remembers
 *    1,000, and `take` makes no new plan while one that may be in the store is 500 inserts behind (take-script.ts).
 * 4. `done`: the plan and its bodies are gone. Said by a process that is not the holder any more, nothing happens.
 * 5. `split`, `fail`, `retryFailed`: old and new state change places in one step.
 *
 * What is acknowledged is as durable as Redis makes it (docs/decisions/redis-queue.md).
 */
export class RedisIngestQueue implements IngestQueue {
  private readonly redis: Redis;
  private readonly deskRedis: Redis;
  private readonly subscription: RedisSubscription;
  private readonly channel: string;
  readonly watch: RedisWatch;
  private readonly writer: EntryWriter;
  private readonly desk: RedisBatchDesk;
  private isClosing = false;
  private closed: Promise<void> | undefined;

  /** Connects in the background: until Redis is there, adding is refused and takers wait. */
  constructor(private readonly options: RedisQueueOptions) {
    const { url, log, bodies, perSecond, maxBacklogBytes } = options;
    this.redis = openRedis(url, { database: QUEUE_DATABASE, log });
    const quiet = { info: () => undefined, warn: () => undefined };
    this.deskRedis = openRedis(url, { database: QUEUE_DATABASE, log: quiet });
    // Channels are not apart by database.
    this.channel = `tf:ingest:${new URL(url).pathname.slice(1) || QUEUE_DATABASE}`;
    this.watch = new RedisWatch(this.redis, this.channel, log);
    this.writer = new EntryWriter(this.redis, this.watch, this.channel, maxBacklogBytes);
    this.desk = new RedisBatchDesk({ redis: this.deskRedis, channel: this.channel, bodies, perSecond, log });
    this.subscription = subscribeRedis(url, this.channel, {
      onUp: () => this.listening(true),
      onDown: () => this.listening(false),
      onMessage: (signal) => this.desk.heard(signal as Signal),
    });
  }

  /** Resolves when Redis answers. @throws AppError UNAVAILABLE after `maxMs` */
  async ready(maxMs: number): Promise<void> {
    for (const deadline = Date.now() + maxMs; !(this.redis.isUp && this.deskRedis.isUp); ) {
      if (Date.now() > deadline) throw new AppError('UNAVAILABLE', 'Redis is away');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async add(entry: IngestEntry): Promise<AddResult> {
    if (this.isClosing) throw new AppError('SHUTTING_DOWN', 'The program is stopping');
    const result = await this.writer.add(entry);
    if (!result.duplicate) this.options.bodies.give(entry.body);
    return result;
  }

  take(signal: Signal, limits: TakeLimits, abort: AbortSignal): Promise<IngestBatch | undefined> {
    return this.desk.take(signal, limits, abort);
  }

  beginInsert(batch: IngestBatch, blocks: number): Promise<void> {
    return this.desk.beginInsert(batch, blocks);
  }

  done(batch: IngestBatch): void {
    this.desk.done(batch);
  }

  retry(batch: IngestBatch, delayMs: number): void {
    this.desk.retry(batch, delayMs);
  }

  split(batch: IngestBatch): Promise<void> {
    return this.desk.split(batch);
  }

  fail(batch: IngestBatch, reason: string): Promise<void> {
    return this.desk.fail(batch, reason, Date.now());
  }

  async failed(): Promise<FailedEntry[]> {
    const [all, discarded] = (await this.ask(LIST_FAILED)) as [string[], string[]];
    return all.map((json) => {
      const { lane: _lane, retentionDays: _days, ...entry } = JSON.parse(json);
      return (discarded.includes(entry.id) ? { ...entry, isDiscarded: true } : entry) as FailedEntry;
    });
  }

  async retryFailed(ids?: readonly string[]): Promise<number> {
    return this.forEach(RETRY_FAILED, ids ?? (await this.failed()).map(({ id }) => id));
  }

  async discardFailed(
    ids: readonly string[],
    record?: (entries: readonly FailedEntry[]) => Promise<void>,
  ): Promise<number> {
    if (record) {
      await this.forEach(MARK_DISCARDED, ids);
      const marked = (await this.failed()).filter(({ id, isDiscarded }) => isDiscarded && ids.includes(id));
      if (marked.length > 0) await record(marked);
    }
    return this.forEach(DISCARD_FAILED, ids);
  }

  async pause(): Promise<void> {
    await this.ask(SET_PAUSED, [1]);
  }

  async resume(): Promise<void> {
    await this.ask(SET_PAUSED, [0]);
  }

  async stats(): Promise<RedisQueueStats> {
    await this.desk.said();
    const [plans, oldestMs, paused, sums, active, delayed, lagMs] = (await this.ask(STATS)) as Stats;
    const of = (name: string) => {
      const at = sums.indexOf(name);
      return at < 0 ? 0 : Number(sums[at + 1]);
    };
    const items = SIGNALS.map((signal) => [signal, of(`items:${signal}`)]);
    return {
      waitingBytes: of('bytes'),
      waitingItems: Object.fromEntries(items) as Record<Signal, number>,
      waitingEntries: of('entries'),
      waitingBatches: plans,
      oldestWaitingMs: Math.max(0, oldestMs),
      backlogBytes: of('cost'),
      maxBacklogBytes: this.options.maxBacklogBytes,
      duplicates: of('duplicates'),
      failedEntries: of('failed-entries'),
      failedBytes: of('failed-bytes'),
      isPaused: paused === 1,
      work: {
        active,
        delayed,
        completed: of('done-batches'),
        failures: of('failures'),
        busyMs: of('busy-ms'),
        lagMs: Math.max(0, lagMs),
      },
      redisMemory: this.watch.memory,
      lostEntries: of('lost-entries'),
      lostItems: of('lost-items'),
    };
  }

  async waiting(): Promise<WaitingLane[]> {
    await this.desk.said();
    const [flat, minutes] = (await this.ask(WAITING)) as Waiting;
    const sums = new Map<string, WaitingLane>();
    for (let at = 0; at < flat.length; at += 5) {
      const [signal, lane, items, bytes, ageMs] = flat.slice(at, at + 5) as typeof flat;
      const sum = sums.get(signal + lane) ?? {
        signal,
        scope: scopeOfLane(lane),
        items: 0,
        bytes: 0,
        oldestMs: 0,
        minutes: [],
      };
      sum.items += Number(items);
      sum.bytes += Number(bytes);
      sum.oldestMs = Math.max(sum.oldestMs, ageMs);
      sums.set(signal + lane, sum);
    }
    for (let at = 0; at < minutes.length; at += 3) {
      const [, minute, reason, lane] = /^(\S+) (\S+) (.*)$/s.exec(minutes[at + 1])!;
      const sum = sums.get(minutes[at] + lane);
      if (sum) addMinute(sum, Number(minute), reason, Number(minutes[at + 2]));
    }
    return [...sums.values()];
  }

  close(): Promise<void> {
    this.closed ??= this.shutDown();
    return this.closed;
  }

  private async shutDown(): Promise<void> {
    this.isClosing = true;
    await this.writer.idle();
    await this.desk.close();
    this.watch.close();
    this.subscription.close();
    this.redis.close();
    this.deskRedis.close();
  }

  private listening(isListening: boolean): void {
    this.desk.isListening = isListening;
    this.desk.lookAgain();
  }

  /** Something that may be asked twice. */
  private async ask(script: RedisScript, values: ScriptValue[] = []): Promise<unknown> {
    // The other connection is asked twice a second, and knows before this one that Redis does not answer.
    if (!this.redis.isUp) throw new AppError('UNAVAILABLE', 'Redis is away');
    try {
      const all = [this.channel, ...values];
      return await this.deskRedis.background((client) => runScript(client, script, [PREFIX], all));
    } catch (error) {
      throw asAppError(error);
    }
  }

  private async forEach(script: RedisScript, ids: readonly string[]): Promise<number> {
    const all = [...new Set(ids)];
    let count = 0;
    for (let at = 0; at < all.length; at += MAX_IDS)
      count += (await this.ask(script, all.slice(at, at + MAX_IDS))) as number;
    return count;
  }
}

function addMinute({ minutes }: WaitingLane, minuteMs: number, reason: string, items: number): void {
  const known = minutes.find((one) => one.minuteMs === minuteMs);
  const minute = known ?? { minuteMs, items: 0, reasons: {} };
  if (!known) minutes.push(minute);
  if (reason === '-') minute.items = items;
  else minute.reasons = { ...minute.reasons, [reason]: items };
}
