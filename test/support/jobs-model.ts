import assert from 'node:assert/strict';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { z } from 'zod';
import { DiskJobQueues } from '../../src/disk-jobs/disk-jobs.js';
import type { JobClock } from '../../src/disk-jobs/job.js';
import { AppError, PermanentError } from '../../src/errors.js';
import type { JobQueue } from '../../src/jobs/job-queue.js';
import { type AllQueueNumbers, QUEUE_NAMES, type QueueNumbers } from '../../src/queue-numbers.js';
import { type Operation, SimulatedDisk } from './simulated-disk.js';

export const MODEL_QUEUE = {
  name: 'cleanup',
  payload: z.strictObject({ n: z.int(), filling: z.string() }),
} satisfies JobQueue<{ n: number; filling: string }>;

export const MODEL_NUMBERS: QueueNumbers = {
  priority: 3,
  workers: 3,
  perSecond: 1_000_000,
  tries: 3,
  firstBackoffMs: 1,
  keepDone: 3,
  keepDoneMs: 3_600_000,
  keepFailed: 1_000_000,
  keepFailedMs: 3_600_000,
};

export const allQueues = (numbers: Partial<QueueNumbers> = {}) =>
  Object.fromEntries(
    QUEUE_NAMES.map((name) => [name, { ...MODEL_NUMBERS, ...numbers }]),
  ) as unknown as AllQueueNumbers;

/** Small enough that segments, snapshots and deletions come all the time. */
export const SMALL = { segmentBytes: 2000, minDeadBytes: 3000, reserveBytes: 4000, lazyMs: 1, retryMs: 1 };

export type JobCommand =
  | { do: 'add'; jobs: number; bytes: number; delayMs: number }
  | { do: 'addAgain'; which: number }
  | { do: 'wait'; turns: number }
  | { do: 'failSome'; share: number }
  | { do: 'failSoon'; operation: Operation; after: number; code: 'EIO' | 'ENOSPC' }
  | { do: 'tick' | 'kill' | 'cutPower' | 'close' | 'retryFailed' | 'pause' | 'resume' | 'remove' };

const TICK_MS = 60_000;

/** A clock whose wall only moves when it is told to. */
export class TestClock implements JobClock {
  wall = 1_800_000_000_000;

  wallMs(): number {
    return this.wall;
  }

  monotonicMs(): number {
    return performance.now();
  }
}

/**
 * Plays commands on queues that lie on a simulated disk, keeping a ledger: what was acknowledged must have been worked off
 * or be there, what was done before an orderly end must not run again, a tick must not bring two jobs.
 */
export class JobsModel {
  readonly clock = new TestClock();
  private readonly disk: SimulatedDisk;
  private queues!: DiskJobQueues;
  private life = 0;
  private nextJob = 0;
  private failingShare = 0;
  private hadFaults = false;
  private readonly acknowledged = new Set<string>();
  private readonly removed = new Set<string>();
  private readonly done = new Map<string, number>();
  /** Done, and that was on the disk: not to be seen again. */
  private readonly settled = new Set<string>();
  private readonly pending = new Set<Promise<unknown>>();
  private readonly ticks = new Set<number>();

  constructor(private readonly random: () => number) {
    this.disk = new SimulatedDisk(random);
  }

  async open(): Promise<void> {
    const life = ++this.life;
    this.hadFaults = false;
    this.disk.fault = () => undefined;
    this.queues = await DiskJobQueues.open({
      ...SMALL,
      directory: '/jobs',
      numbers: allQueues(),
      fs: this.disk.mount(),
      clock: this.clock,
    });
    this.queues.work(MODEL_QUEUE, (job) => this.handle(life, job.id, job.payload.filling, job.tickMs));
    await this.queues.repeat(MODEL_QUEUE, { key: 'each', cron: '* * * * *', payload: { n: 0, filling: '' } });
    this.queues.schedule();
  }

  private async handle(life: number, id: string, filling: string, tickMs?: number): Promise<string> {
    await turn();
    // The process it belongs to is dead.
    if (life !== this.life) return new Promise(() => undefined);
    assert.ok(!this.settled.has(id), `${id} was done before the end of the process and runs again`);
    if (this.random() < this.failingShare) {
      if (this.random() < 0.3) throw new PermanentError('never');
      throw new Error('not now');
    }
    if (tickMs !== undefined) this.ticks.add(tickMs);
    this.done.set(id, (this.done.get(id) ?? 0) + 1);
    return filling;
  }

  async run(command: JobCommand): Promise<void> {
    switch (command.do) {
      case 'add':
        this.add(command.jobs, command.bytes, command.delayMs);
        break;
      case 'addAgain':
        this.addAgain(command.which);
        break;
      case 'wait':
        for (let turns = 0; turns < command.turns; turns++) await turn();
        break;
      case 'failSome':
        this.failingShare = command.share;
        break;
      case 'failSoon':
        this.failSoon(command.operation, command.after, command.code);
        break;
      case 'tick':
        this.clock.wall += TICK_MS;
        // As the timer does within a second.
        await this.attempt(this.queues.repeat(MODEL_QUEUE, repeatOf(this.random() < 0.5 ? '' : 'x')));
        break;
      case 'kill':
      case 'cutPower':
        await this.crash(command.do);
        break;
      case 'close':
        await this.restart();
        break;
      case 'remove':
        await this.remove();
        break;
      default:
        await this.attempt(this.queues[command.do]('cleanup'));
    }
  }

  /** Ends the script: with a sound disk everything that was acknowledged is worked off. */
  async finish(): Promise<void> {
    this.failingShare = 0;
    await this.crash(this.random() < 0.5 ? 'kill' : 'cutPower');
    await this.queues.resume('cleanup');
    const isOver = async () => {
      await this.queues.retryFailed('cleanup');
      const { waiting, active, delayed, failed } = await this.queues.stats('cleanup');
      return waiting + active + delayed + failed === 0;
    };
    for (let tries = 0; !(await isOver()); tries++) {
      assert.ok(tries < 5000, `jobs are left: ${JSON.stringify(await this.queues.stats('cleanup'))}`);
      await sleep(1);
    }
    const lost = [...this.acknowledged].filter((id) => !this.done.has(id) && !this.removed.has(id));
    assert.deepEqual(lost, [], 'acknowledged and lost');
    await this.queues.close(0);
    this.life++;
  }

  private add(count: number, bytes: number, delayMs: number): void {
    const jobs = Array.from({ length: count }, () => {
      const n = this.nextJob++;
      return { id: `job-${n}`, payload: { n, filling: 'x'.repeat(bytes) }, delayMs };
    });
    const life = this.life;
    this.follow(
      this.queues.addAll(MODEL_QUEUE, jobs).then((added) => {
        if (life === this.life) for (const { id } of added) this.acknowledged.add(id);
      }),
    );
  }

  /** A second time under the id of one that is known: as if its answer had been lost. */
  private addAgain(which: number): void {
    const id = [...this.acknowledged][which % Math.max(1, this.acknowledged.size)];
    if (id === undefined || this.settled.has(id) || this.removed.has(id)) return;
    const payload = { n: 0, filling: 'again' };
    this.follow(this.queues.addAll(MODEL_QUEUE, [{ id, payload }]).then(() => undefined));
  }

  private failSoon(operation: Operation, after: number, code: string): void {
    this.hadFaults = true;
    let left = after;
    this.disk.fault = (what) => {
      if (what !== operation || left-- > 0) return undefined;
      this.disk.fault = () => undefined;
      return { code, afterBytes: Math.floor(this.random() * 200) };
    };
  }

  private async remove(): Promise<void> {
    const [job] = await this.queues.list('cleanup', 'waiting', { offset: 0, limit: 1 });
    if (!job || job.id.includes(':')) return;
    this.removed.add(job.id);
    await this.attempt(this.queues.remove('cleanup', job.id));
  }

  private async crash(how: 'kill' | 'cutPower'): Promise<void> {
    this.life++;
    this.disk[how]();
    // Its timers must not outlive the test; it can't do anything any more.
    void this.queues.close(0);
    this.pending.clear();
    await this.open();
  }

  private async restart(): Promise<void> {
    await this.queues.close(5);
    const isSound = !this.hadFaults;
    this.life++;
    await Promise.allSettled(this.pending);
    const before = new Map(this.done);
    await this.open();
    if (!isSound) return;
    for (const [id, times] of before) {
      const job = await this.queues.find('cleanup', id);
      // Given back by the close and done again since: that is not on the disk yet.
      if (this.done.get(id) !== times) continue;
      if (job === undefined || job.state === 'completed') this.settled.add(id);
    }
  }

  /** What was asked for and may be refused. */
  private async attempt(what: Promise<unknown>): Promise<void> {
    this.follow(what);
    for (let turns = 0; turns < 10; turns++) await turn();
  }

  private follow(what: Promise<unknown>): void {
    const followed: Promise<unknown> = what
      .catch((error) => {
        const isExpected = error instanceof AppError && ['UNAVAILABLE', 'SHUTTING_DOWN'].includes(error.code);
        assert.ok(isExpected, String(error));
      })
      .finally(() => this.pending.delete(followed));
    this.pending.add(followed);
  }
}

function repeatOf(filling: string) {
  return { key: 'each', cron: '* * * * *', payload: { n: 0, filling } };
}
