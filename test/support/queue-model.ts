import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { AppError } from '../../src/errors.js';
import type { JournalReport } from '../../src/journal/report.js';
import { BodyPool } from '../../src/memory/body-pool.js';
import { DiskIngestQueue } from '../../src/queue/disk-ingest-queue.js';
import type { IngestBatch } from '../../src/queue/ingest-queue.js';
import type { Signal } from '../../src/signal.js';
import { type Operation, SimulatedDisk } from './simulated-disk.js';

export type Command =
  | { do: 'add'; tenant: number; signal: Signal; content: number; bytes: number }
  | { do: 'wait'; turns: number }
  | { do: 'take'; signal: Signal; maxBytes: number }
  | { do: 'insert' | 'finish' | 'retry' | 'split' | 'fail'; which: number }
  | { do: 'retryFailed' | 'kill' | 'cutPower' | 'close' | 'fillDisk' | 'freeDisk' }
  | { do: 'failSoon'; operation: Operation; after: number };

interface Attempt {
  key: string;
  body: Uint8Array;
  isAcknowledged: boolean;
}

interface Held {
  batch: IngestBatch;
  isInserted: boolean;
  isBusy: boolean;
}

const NOW_MS = 1_800_000_000_000;
const DIRECTORY = '/queue';

/** What is given back is spoilt at once: whoever still reads it, or writes it to the disk, is found out. */
class SpoilingPool extends BodyPool {
  override give(body: Uint8Array): void {
    if (this.isLent(body)) body.fill(0xee);
    super.give(body);
  }
}

/**
 * A store that folds repeated batch ids, clients that add bodies, and workers that take batches, around one queue on a
 * simulated disk. What must hold is checked as it happens and in `finish`: every body whose client was told "accepted"
 * is stored or in the failed set exactly once, no body twice, batches never change.
 */
export class QueueModel {
  readonly reports: JournalReport[] = [];
  readonly disk: SimulatedDisk;
  private queue!: DiskIngestQueue;
  /** By `receivedAtMs`, which is unique here. */
  private readonly attempts = new Map<number, Attempt>();
  /** Batches in the store: id -> attempts. */
  private readonly stored = new Map<string, number[]>();
  private readonly storedIn = new Map<string, string>();
  /** Batches given out and not over: id -> attempts; and the way back. */
  private readonly planned = new Map<string, number[]>();
  private readonly plannedIn = new Map<number, string>();
  private readonly over = new Set<string>();
  private readonly splitting = new Set<string>();
  /** In this life of the queue. */
  private readonly doneCalled = new Set<string>();
  private readonly doneDurable = new Set<string>();
  private held: Held[] = [];
  private life = 0;
  private readonly bodies = new SpoilingPool();

  constructor(random: () => number) {
    this.disk = new SimulatedDisk(random);
  }

  async open(): Promise<void> {
    this.life++;
    this.held = [];
    this.doneCalled.clear();
    this.queue = await DiskIngestQueue.open({
      directory: DIRECTORY,
      maxBacklogBytes: 1e9,
      maxMemoryBytes: 1500,
      segmentBytes: 3000,
      reserveBytes: 8000,
      maxGroupBytes: 4000,
      lazyMs: 1,
      retryMs: 0,
      bodies: this.bodies,
      fs: this.disk.mount(),
      nowMs: () => NOW_MS,
      report: (report) => this.reports.push(report),
    });
  }

  async run(command: Command): Promise<void> {
    switch (command.do) {
      case 'add':
        this.add(command.tenant, command.signal, command.content, command.bytes);
        return;
      case 'wait':
        return turns(command.turns);
      case 'take':
        return this.take(command.signal, command.maxBytes);
      case 'retryFailed':
        return this.retryFailed();
      case 'kill':
      case 'cutPower':
        this.disk[command.do]();
        this.heal();
        return this.open();
      case 'close':
        return this.reopen();
      case 'fillDisk':
        this.disk.capacityBytes = this.disk.usedBytes + 100;
        return;
      case 'freeDisk':
        return this.heal();
      case 'failSoon':
        return this.failSoon(command.operation, command.after);
      default:
        return this.handle(command.do, command.which);
    }
  }

  /** Heals the disk, restarts, stores what waits, restarts again, and checks what must hold in the end. */
  async finish(): Promise<void> {
    this.heal();
    this.disk.kill();
    await this.open();
    while (this.queue.stats().waitingEntries > 0) {
      for (const signal of ['traces', 'logs'] as const) await this.take(signal, 2000, 200);
      for (const held of this.held) this.insert(held);
      for (const held of this.held.splice(0)) this.done(held);
    }
    await this.reopen();
    assert.equal(this.queue.stats().waitingEntries, 0, 'done batches came back after a clean stop');
    for (let i = 0; i < 200 && this.queue.stats().segments > 1; i++) await turns(5);
    assert.equal(this.queue.stats().segments, 1, 'segments that nobody needs are still there');
    await this.checkExactlyOnce();
    await this.queue.close();
  }

  private add(tenant: number, signal: Signal, content: number, bytes: number): void {
    const scope = { organizationId: 'o', workspaceId: 'w', tenantId: `t${tenant}` };
    const body = this.bodies.take(bytes).fill(content);
    const receivedAtMs = NOW_MS + this.attempts.size;
    const attempt: Attempt = {
      key: `${signal} ${tenant} ${content}`,
      body: Uint8Array.from(body),
      isAcknowledged: false,
    };
    this.attempts.set(receivedAtMs, attempt);
    const contentHash = createHash('sha256').update(`${content}`).digest().subarray(0, 16);
    const doneBefore = [...this.doneCalled];
    const entry = {
      signal,
      scope,
      receivedAtMs,
      retentionDays: 30,
      items: 1,
      rejected: content,
      body,
      contentHash,
    };
    this.queue.add({ ...entry, note: `n${content}` }).then(
      (result) => {
        attempt.isAcknowledged = true;
        if (result.duplicate) this.bodies.give(body);
        if (!result.duplicate) for (const id of doneBefore) this.doneDurable.add(id);
        else assert.deepEqual(result, { duplicate: true, rejected: content, note: `n${content}` });
      },
      (error) => {
        assert.ok(error instanceof AppError && error.status === 503, String(error));
        this.bodies.give(body);
      },
    );
  }

  private async take(signal: Signal, maxBytes: number, patience = 30): Promise<void> {
    const abort = new AbortController();
    const taking = this.queue.take(signal, { maxBytes, maxItems: 5, maxAgeMs: 0 }, abort.signal);
    const batch = await Promise.race([taking, turns(patience).then(() => abort.abort())]);
    const given = batch ?? (await taking);
    if (given) await this.receive(given);
  }

  private async receive(batch: IngestBatch): Promise<void> {
    const numbers = batch.entries.map((entry) => entry.receivedAtMs);
    assert.ok(!this.over.has(batch.id), `batch ${batch.id} was replaced or failed and came back`);
    assert.ok(!this.doneDurable.has(batch.id), `batch ${batch.id} was durably done and came back`);
    const before = this.planned.get(batch.id);
    if (before) assert.deepEqual(numbers, before, 'a planned batch changed');
    else this.plan(batch.id, numbers);
    this.splitting.delete(batch.id);
    const held = { batch, isInserted: this.stored.has(batch.id), isBusy: false };
    this.held.push(held);
    const life = this.life;
    for (const entry of batch.entries) {
      const body = await entry.read();
      if (this.life !== life) return;
      assert.deepEqual(Uint8Array.from(body), this.attempts.get(entry.receivedAtMs)?.body, 'a body changed');
      this.bodies.give(body);
    }
  }

  private plan(id: string, numbers: number[]): void {
    const olds = new Set(
      numbers.map((number) => this.plannedIn.get(number)).filter((old) => old !== undefined),
    );
    for (const old of olds) {
      const whole = this.planned.get(old) ?? [];
      const middle = Math.ceil(whole.length / 2);
      assert.ok(this.splitting.has(old), `entries of ${old} came in ${id}`);
      const halves = [whole.slice(0, middle), whole.slice(middle)];
      assert.ok(
        halves.some((half) => half.join() === numbers.join()),
        'not a half of the split batch',
      );
    }
    this.planned.set(id, numbers);
    for (const number of numbers) this.plannedIn.set(number, id);
  }

  private handle(what: 'insert' | 'finish' | 'retry' | 'split' | 'fail', which: number): void {
    const free = this.held.filter((held) => !held.isBusy);
    const held = free[which % free.length];
    if (!held) return;
    if (what === 'insert' || what === 'finish') this.insert(held);
    if (what === 'insert') return;
    if (what === 'finish' || what === 'retry') this.held.splice(this.held.indexOf(held), 1);
    if (what === 'finish') this.done(held);
    else if (what === 'retry') this.queue.retry(held.batch, 0);
    else if (!held.isInserted) this.give(held, what);
  }

  private insert(held: Held): void {
    const { id, entries } = held.batch;
    const numbers = entries.map((entry) => entry.receivedAtMs);
    held.isInserted = true;
    if (this.stored.has(id)) return;
    this.stored.set(id, numbers);
    for (const number of numbers) {
      const key = this.keyOf(number);
      assert.equal(this.storedIn.get(key), undefined, `${key} is stored twice`);
      this.storedIn.set(key, id);
    }
  }

  private done({ batch }: Held): void {
    this.doneCalled.add(batch.id);
    this.queue.done(batch);
  }

  private give(held: Held, what: 'split' | 'fail'): void {
    const { batch } = held;
    if (what === 'split' && batch.entries.length < 2) return;
    held.isBusy = true;
    if (what === 'split') this.splitting.add(batch.id);
    const work = what === 'split' ? this.queue.split(batch) : this.queue.fail(batch, 'because');
    work.then(
      () => {
        this.over.add(batch.id);
        for (const { receivedAtMs } of batch.entries) {
          if (this.plannedIn.get(receivedAtMs) === batch.id) this.plannedIn.delete(receivedAtMs);
        }
      },
      (error) => assert.ok(error instanceof AppError && error.status === 503, String(error)),
    );
  }

  private async retryFailed(): Promise<void> {
    for (const { receivedAtMs } of await this.queue.failed()) this.plannedIn.delete(receivedAtMs);
    this.queue.retryFailed().catch((error) => assert.ok(error instanceof AppError, String(error)));
  }

  private async reopen(): Promise<void> {
    this.heal();
    await this.queue.close();
    for (const id of this.doneCalled) this.doneDurable.add(id);
    this.disk.kill();
    await this.open();
  }

  private failSoon(operation: Operation, after: number): void {
    let left = after % 3;
    this.disk.fault = (asked) => {
      if (asked !== operation || left-- > 0) return undefined;
      this.disk.fault = () => undefined;
      return { code: 'EIO', afterBytes: after };
    };
  }

  private heal(): void {
    this.disk.capacityBytes = Number.POSITIVE_INFINITY;
    this.disk.fault = () => undefined;
  }

  private async checkExactlyOnce(): Promise<void> {
    const failed = (await this.queue.failed()).map((entry) => this.keyOf(entry.receivedAtMs));
    const kept = [...this.storedIn.keys(), ...failed];
    assert.equal(new Set(kept).size, kept.length, 'a body is kept twice');
    for (const { key, isAcknowledged } of this.attempts.values()) {
      if (isAcknowledged) assert.ok(kept.includes(key), `${key} was acknowledged and is lost`);
    }
  }

  private keyOf(number: number): string {
    return this.attempts.get(number)?.key ?? `unknown ${number}`;
  }
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** A small generator with a seed, so that a failure can be repeated. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
