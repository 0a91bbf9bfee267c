import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { ReplyError } from 'ioredis';
import type { Logger } from 'pino';
import { type Redis, type RedisScript, runScript, type ScriptValue } from '../connections/redis.js';
import { PermanentError } from '../errors.js';
import type { BodyPool } from '../memory/body-pool.js';
import { BatchLost, type IngestBatch, type TakeLimits } from '../queue/ingest-queue.js';
import { Waiters } from '../queue/waiters.js';
import { SIGNALS, type Signal } from '../signal.js';
import { BatchBodies } from './batch-bodies.js';
import { BEGIN_INSERT, DONE, FAIL, PUT_BACK, RENEW, SPLIT } from './batch-scripts.js';
import { type EntryLine, readLine, scopeOfLane } from './lane.js';
import { asAppError } from './redis-errors.js';
import { PREFIX } from './script.js';
import { LEASE_MS, TAKE } from './take-script.js';

const RENEW_MS = LEASE_MS / 3;
/** How long a taker sleeps at most, with and without being told of news. */
const MAX_WAIT_MS = 1000;
const MAX_DEAF_WAIT_MS = 200;
const AWAY_PAUSE_MS = 250;
const MAX_REASON_LENGTH = 2000;
/** `maxAgeMs` of a taker that wants full batches alone may be infinite. */
const MAX_AGE_MS = 1e15;

/** A batch in this process' hands. */
interface Held {
  readonly view: IngestBatch;
  /** What Redis knows its holder by; another one each time it is given out. */
  readonly holder: string;
  readonly lane: string;
  readonly lines: readonly EntryLine[];
}

interface DeskParts {
  /** Of its own: what waits here must not make a request wait. */
  redis: Redis;
  channel: string;
  bodies: BodyPool;
  perSecond: number;
  log: Pick<Logger, 'warn'>;
}

/** This process' hands: takes batches, keeps their leases, and says what became of them. */
export class RedisBatchDesk {
  /** Is told of news by Redis. */
  isListening = false;
  private readonly waiters = new Waiters();
  /** News of each signal, counted, so that none is missed between asking and beginning to wait. */
  private readonly news: Record<Signal, number> = { traces: 0, logs: 0, metrics: 0 };
  private readonly held = new Map<string, Held>();
  /** Things said and not answered yet. */
  private readonly telling = new Set<Promise<unknown>>();
  private readonly closing = new AbortController();
  /** Never used before, so that no two batches ever have the same id. */
  private readonly process = randomBytes(8).toString('hex');
  private lastId = 0;
  private readonly renewing: NodeJS.Timeout;

  constructor(private readonly parts: DeskParts) {
    this.renewing = setInterval(() => void this.renew(), RENEW_MS).unref();
  }

  /** There may be something to take. */
  heard(signal: Signal): void {
    this.news[signal]++;
    this.waiters.ready(signal, Number.NEGATIVE_INFINITY);
  }

  lookAgain(): void {
    for (const signal of SIGNALS) this.heard(signal);
  }

  async take(signal: Signal, limits: TakeLimits, abort: AbortSignal): Promise<IngestBatch | undefined> {
    const ids = { batch: this.newId(), holder: this.newId() };
    let isAskedBefore = false;
    while (!this.closing.signal.aborted && !abort.aborted) {
      const news = this.news[signal];
      let answer: string[];
      try {
        answer = await this.ask(signal, limits, ids, isAskedBefore);
        isAskedBefore = false;
      } catch (error) {
        if (error instanceof ReplyError) this.parts.log.warn({ err: error, signal }, 'Redis gave no batch');
        // Without an answer it may have been given: asked again, Redis gives the same.
        isAskedBefore = true;
        await sleep(AWAY_PAUSE_MS, undefined, { signal: abort, ref: false }).catch(() => undefined);
        continue;
      }
      if (answer[0] === 'b') {
        const held = this.hold(signal, ids.holder, answer);
        if (!abort.aborted && !this.closing.signal.aborted) return held.view;
        this.putBack(held, 0, -1);
        return undefined;
      }
      if (news !== this.news[signal]) continue;
      const mostMs = this.isListening ? MAX_WAIT_MS : MAX_DEAF_WAIT_MS;
      const waitMs = Number(answer[1]) < 0 ? mostMs : Math.min(mostMs, Number(answer[1]));
      await this.waiters.wait(signal, limits, performance.now() + Math.max(1, waitMs), abort);
    }
    return undefined;
  }

  async beginInsert(view: IngestBatch, blocks: number): Promise<void> {
    const { holder } = this.heldOf(view);
    const isHeld = await this.tell(BEGIN_INSERT, [view.id, holder, blocks]);
    if (isHeld !== 1) throw this.lost(view);
  }

  done(view: IngestBatch): void {
    const { holder } = this.release(view);
    // When that does not arrive the batch comes again, and the store folds it.
    this.inBackground(this.tell(DONE, [view.id, holder]));
  }

  retry(view: IngestBatch, delayMs: number): void {
    this.putBack(this.release(view), delayMs, 0);
  }

  async split(view: IngestBatch): Promise<void> {
    if (view.entries.length < 2) throw new PermanentError('A batch of one entry cannot be split');
    const { holder } = this.heldOf(view);
    await this.settle(view, SPLIT, [view.id, holder, this.newId(), this.newId()]);
  }

  async fail(view: IngestBatch, reason: string, failedAtMs: number): Promise<void> {
    const { holder, lane, lines } = this.heldOf(view);
    const { id: batchId, signal, scope } = view;
    const kept = lines.flatMap((line) => {
      const told = { batchId, signal, scope, failedAtMs, reason: reason.slice(0, MAX_REASON_LENGTH) };
      return [line.id, JSON.stringify({ ...line, ...told, lane })];
    });
    await this.settle(view, FAIL, [batchId, holder, ...kept]);
  }

  /** Resolves when Redis has answered all that was said. */
  async said(): Promise<void> {
    await Promise.allSettled(this.telling);
  }

  /** Ends waiting takers, and gives back what is still held, for others to take at once. */
  async close(): Promise<void> {
    this.closing.abort();
    clearInterval(this.renewing);
    this.waiters.wakeAll();
    for (const held of [...this.held.values()]) this.putBack(held, 0, -1);
    await this.said();
  }

  private async ask(
    signal: Signal,
    limits: TakeLimits,
    ids: { batch: string; holder: string },
    isAskedBefore: boolean,
  ): Promise<string[]> {
    const { channel, perSecond, redis } = this.parts;
    const { maxBytes, maxItems, maxAgeMs } = limits;
    let again = isAskedBefore ? 1 : 0;
    return redis.background(async (client) => {
      const asked = [channel, signal, ids.batch, ids.holder, again, maxBytes, maxItems];
      again = 1;
      const values = [...asked, Math.min(maxAgeMs, MAX_AGE_MS), Math.min(perSecond, MAX_AGE_MS)];
      return (await runScript(client, TAKE, [PREFIX], values)) as string[];
    });
  }

  private hold(signal: Signal, holder: string, answer: string[]): Held {
    const [, id, lane, attempt, interruptions, entries] = answer;
    const lines = entries.split('\n').map(readLine);
    const bodies = new BatchBodies(this.parts.redis, this.parts.bodies, lines);
    const view: IngestBatch = {
      id,
      signal,
      scope: scopeOfLane(lane),
      attempt: Number(attempt),
      interruptions: Number(interruptions),
      items: lines.reduce((sum, line) => sum + line.items, 0),
      bytes: lines.reduce((sum, line) => sum + line.bytes, 0),
      entries: lines.map(({ receivedAtMs, retentionDays, items, bytes, reasons }, index) => ({
        receivedAtMs,
        retentionDays,
        items,
        reasons,
        bytes,
        read: () => this.read(view, bodies, index),
      })),
    };
    const held: Held = { view, holder, lane, lines };
    this.held.set(id, held);
    return held;
  }

  private async read(view: IngestBatch, bodies: BatchBodies, index: number): Promise<Uint8Array> {
    this.heldOf(view);
    try {
      return await bodies.read(index);
    } catch (error) {
      if (!(error instanceof PermanentError)) throw asAppError(error);
      // Gone with the whole batch, or alone?
      await this.renew();
      this.heldOf(view);
      throw error;
    }
  }

  private putBack({ view, holder }: Held, delayMs: number, attempts: number): void {
    this.held.delete(view.id);
    this.inBackground(this.tell(PUT_BACK, [view.id, holder, delayMs, attempts]));
  }

  /** Says something after which the batch is out of these hands. */
  private async settle(view: IngestBatch, script: RedisScript, values: ScriptValue[]): Promise<void> {
    const isHeld = await this.tell(script, values);
    if (isHeld !== 1) throw this.lost(view);
    this.held.delete(view.id);
  }

  private async renew(): Promise<void> {
    const held = [...this.held.values()];
    if (held.length === 0) return;
    try {
      const lost = (await this.tell(
        RENEW,
        held.flatMap(({ view, holder }) => [view.id, holder]),
      )) as string[];
      for (const { view } of held) {
        if (lost.includes(view.id) && this.held.get(view.id)?.view === view) this.lost(view);
      }
    } catch {
      // Redis is away; the lease may run out meanwhile, which is seen later.
    }
  }

  /** Says something that may be said twice. @throws AppError UNAVAILABLE when Redis is away for long */
  private tell(script: RedisScript, values: ScriptValue[]): Promise<unknown> {
    const { channel, redis } = this.parts;
    const telling = redis
      .background((client) => runScript(client, script, [PREFIX], [channel, ...values]))
      .catch((error) => {
        throw asAppError(error);
      });
    this.telling.add(telling);
    const over = () => this.telling.delete(telling);
    telling.then(over, over);
    return telling;
  }

  private inBackground(telling: Promise<unknown>): void {
    telling.catch((error) =>
      this.parts.log.warn({ err: error }, 'Redis was not told what became of a batch'),
    );
  }

  private lost(view: IngestBatch): BatchLost {
    if (this.held.get(view.id)?.view === view) this.held.delete(view.id);
    return new BatchLost(`Batch ${view.id} is not in this process' hands any more`);
  }

  private heldOf(view: IngestBatch): Held {
    const held = this.held.get(view.id);
    if (held?.view !== view) throw this.lost(view);
    return held;
  }

  private release(view: IngestBatch): Held {
    const held = this.heldOf(view);
    this.held.delete(view.id);
    return held;
  }

  private newId(): string {
    return `${this.process}-${++this.lastId}`;
  }
}
