import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { AppError, PermanentError } from '../errors.js';
import { type AllQueueNumbers, QUEUE_NAMES, type QueueNumbers } from '../queue-numbers.js';
import {
  type JobHandler,
  type JobInfo,
  type JobQueue,
  type JobQueues,
  type NewJob,
  NOT_TRIED_AGAIN,
  type RunningJob,
} from './job-queue.js';

/** What a job of the suite says: `act` is what its handler does in a child process. */
const PAYLOAD = z.strictObject({
  n: z.int(),
  act: z.enum(['quick', 'slow', 'hang', 'die']).optional(),
});
type Payload = z.output<typeof PAYLOAD>;
const QUEUE = { name: 'cleanup', payload: PAYLOAD } satisfies JobQueue<Payload>;
const OTHER = { name: 'aggregation', payload: PAYLOAD } satisfies JobQueue<Payload>;
const REDONE = { name: 'alert-evaluation', payload: PAYLOAD, isRedone: true } satisfies JobQueue<Payload>;

/** What a driver keeps its jobs in, of one test alone. */
export interface JobStore {
  /** Whether several processes, and so several of `open`, may use it at once. */
  readonly isShared: boolean;
  /** The queues as a process opens them; every queue has these numbers. A driver that is not shared is closed before it is opened again. */
  open(numbers: QueueNumbers): Promise<JobQueues>;
  /** A process that opens the queues and runs `workInChild`. A driver that is not shared has no other open meanwhile. */
  startChild(numbers: QueueNumbers): ChildProcess;
  /** Ends what was opened and is still open, and removes everything. */
  remove(): Promise<void>;
}

/** Fast enough for tests, and no limit in the way. */
export const SUITE_NUMBERS: QueueNumbers = {
  priority: 3,
  workers: 4,
  perSecond: 1_000_000,
  tries: 3,
  firstBackoffMs: 20,
  keepDone: 1000,
  keepDoneMs: 3_600_000,
  keepFailed: 1000,
  keepFailedMs: 3_600_000,
};

/** The same numbers for every queue. */
export function allQueues(numbers: QueueNumbers): AllQueueNumbers {
  return Object.fromEntries(QUEUE_NAMES.map((name) => [name, numbers])) as Record<
    (typeof QUEUE_NAMES)[number],
    QueueNumbers
  >;
}

/** What a child process does with the queues: says `started n` and `done n` line by line, until SIGTERM. */
export function workInChild(queues: JobQueues): void {
  const say = (line: string) =>
    new Promise<void>((resolve) => process.stdout.write(`${line}\n`, () => resolve()));
  const handle = async ({ payload }: { payload: Payload }) => {
    await say(`started ${payload.n}`);
    // Not at once: others are in hand by then.
    if (payload.act === 'die') await sleep(300).then(() => process.kill(process.pid, 'SIGKILL'));
    if (payload.act === 'slow') await sleep(1000);
    if (payload.act === 'hang') await new Promise(() => undefined);
    await say(`done ${payload.n}`);
  };
  queues.work(QUEUE, handle);
  queues.work(REDONE, handle);
  process.once('SIGTERM', () => void queues.close(0).then(() => process.exit(0)));
}

/** A child with all it said. */
class Child {
  readonly lines: string[] = [];
  readonly exited: Promise<unknown>;

  constructor(readonly process: ChildProcess) {
    createInterface(process.stdout!).on('line', (line) => this.lines.push(line));
    this.exited = once(process, 'close');
  }

  says(line: string): Promise<void> {
    return eventually(`the child says ${line}`, () => this.lines.includes(line));
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    this.process.kill(signal);
    await this.exited;
  }
}

/** Waits for something to become true; a minute at most, because a loaded machine is slow. */
async function eventually(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 60_000; !(await condition()); await sleep(10))
    assert.ok(Date.now() < deadline, `not within a minute: ${what}`);
}

const hasCode = (code: string) => (error: unknown) => error instanceof AppError && error.code === code;

/** A handler that waits in each job until it is let go. */
class Gate {
  readonly inHand = new Map<number, () => void>();
  most = 0;
  readonly handler: JobHandler<Payload> = async ({ payload }) => {
    await new Promise<void>((resolve) => {
      this.inHand.set(payload.n, resolve);
      this.most = Math.max(this.most, this.inHand.size);
    });
  };

  letGo(n: number): void {
    this.inHand.get(n)?.();
    this.inHand.delete(n);
  }

  letAllGo(): void {
    for (const n of [...this.inHand.keys()]) this.letGo(n);
  }
}

/** What every driver of the job queues promises. */
export function jobQueuesContract(driver: string, makeStore: () => Promise<JobStore>): void {
  let store: JobStore;
  const open = (numbers: Partial<QueueNumbers> = {}) => store.open({ ...SUITE_NUMBERS, ...numbers });
  const children: Child[] = [];
  const startChild = () => {
    const child = new Child(store.startChild(SUITE_NUMBERS));
    children.push(child);
    return child;
  };
  /** Several processes on one store, or the one that there can be. */
  const openSome = async (count: number, numbers: Partial<QueueNumbers> = {}) =>
    Promise.all(Array.from({ length: store.isShared ? count : 1 }, () => open(numbers)));

  const add = async (queues: JobQueues, ...jobs: (number | NewJob<Payload>)[]) => {
    const added = await queues.addAll(
      QUEUE,
      jobs.map((job) => (typeof job === 'number' ? { payload: { n: job } } : job)),
    );
    return added.map(({ id }) => id);
  };
  const stateOf = async (queues: JobQueues, id: string) => (await queues.find('cleanup', id))?.state;
  const becomes = async (queues: JobQueues, id: string, state: JobInfo['state']): Promise<JobInfo> => {
    await eventually(`${id} is ${state}`, async () => (await stateOf(queues, id)) === state);
    return (await queues.find('cleanup', id))!;
  };
  const all = { offset: 0, limit: 1000 };

  beforeEach(async () => {
    store = await makeStore();
  });
  afterEach(async () => {
    for (const child of children.splice(0)) await child.end('SIGKILL');
    await store.remove();
  });

  describe(`Jobs (${driver})`, () => {
    it('are done once each, with what was added, and what their handler returned is kept', async () => {
      const queues = await open();
      const before = Date.now();
      const [id] = await add(queues, { payload: { n: 7 }, id: 'seven' });
      assert.equal(id, 'seven');
      const waiting = await queues.find('cleanup', id);
      assert.deepEqual([waiting?.state, waiting?.payload, waiting?.attempt], ['waiting', { n: 7 }, 0]);
      const ran: RunningJob<Payload>[] = [];
      queues.work(QUEUE, async (job) => {
        ran.push(job);
        return { sum: [job.payload.n, null, 'é'] };
      });
      const done = await becomes(queues, id, 'completed');
      assert.equal(ran.length, 1);
      const [job] = ran;
      assert.deepEqual([job.id, job.payload, job.attempt, job.tickMs], ['seven', { n: 7 }, 1, undefined]);
      assert.ok(job.addedAtMs >= before - 1 && job.addedAtMs <= Date.now());
      assert.equal(done.addedAtMs, job.addedAtMs);
      assert.deepEqual(done.result, { sum: [7, null, 'é'] });
      assert.deepEqual([done.attempt, done.priority], [1, SUITE_NUMBERS.priority]);
      assert.ok(done.finishedAtMs! >= job.addedAtMs && done.finishedAtMs! <= Date.now());
      assert.equal(done.reason, undefined);
    });

    it('in thousands are all done, none twice', async () => {
      const queues = await open({ keepDone: 10, workers: 20 });
      const times = new Map<number, number>();
      queues.work(QUEUE, async ({ payload: { n } }) => void times.set(n, (times.get(n) ?? 0) + 1));
      const lots = Array.from({ length: 10 }, (_, lot) =>
        Array.from({ length: 300 }, (_, n) => lot * 300 + n),
      );
      await Promise.all(lots.map((lot) => add(queues, ...lot)));
      await eventually('all done', async () => (await queues.stats('cleanup')).completed === 3000);
      assert.equal(times.size, 3000);
      assert.deepEqual(new Set(times.values()), new Set([1]));
    });

    it('without an id get one each; adding none adds none', async () => {
      const queues = await open();
      const ids = await add(queues, 1, 1, 1, 1);
      assert.equal(new Set(ids).size, 4);
      assert.deepEqual(await queues.addAll(QUEUE, []), []);
      assert.equal((await queues.stats('cleanup')).waiting, 4);
    });

    it('are of one queue alone', async () => {
      const queues = await open();
      const [id] = await add(queues, { payload: { n: 1 }, id: 'same' });
      const [other] = await queues.addAll(OTHER, [{ payload: { n: 2 }, id: 'same' }]);
      assert.equal(other.isNew, true);
      const seen: number[] = [];
      queues.work(OTHER, async ({ payload }) => void seen.push(payload.n));
      await eventually('the other is done', async () => (await queues.stats('aggregation')).completed === 1);
      assert.deepEqual(seen, [2]);
      assert.equal(await stateOf(queues, id), 'waiting');
    });

    it('are there after a restart, waiting, delayed and failed ones', async () => {
      let queues = await open();
      const [waiting, delayed] = await add(queues, 1, { payload: { n: 2 }, delayMs: 60_000 });
      await queues.close(0);
      queues = await open({ tries: 1 });
      assert.equal(await stateOf(queues, waiting), 'waiting');
      queues.work(QUEUE, async () => {
        throw new Error('no');
      });
      await becomes(queues, waiting, 'failed');
      await queues.close(5000);
      queues = await open();
      const failed = await queues.find('cleanup', waiting);
      assert.deepEqual([failed?.state, failed?.reason, failed?.payload], ['failed', 'no', { n: 1 }]);
      assert.equal(await stateOf(queues, delayed), 'delayed');
    });

    it('do not run before their delay', async () => {
      const queues = await open();
      const started = new Map<number, number>();
      queues.work(QUEUE, async ({ payload }) => void started.set(payload.n, Date.now()));
      const addedAt = Date.now();
      const [late] = await add(queues, { payload: { n: 1 }, delayMs: 1500 }, { payload: { n: 2 } });
      const delayed = await queues.find('cleanup', late);
      assert.equal(delayed?.state, 'delayed');
      assert.ok(delayed.dueAtMs! >= addedAt + 1499 && delayed.dueAtMs! <= Date.now() + 1500);
      await eventually('both are done', () => started.size === 2);
      assert.ok(started.get(1)! - addedAt >= 1499, `after ${started.get(1)! - addedAt} ms`);
    });

    it('go by priority, and within one by age', async () => {
      const queues = await open({ workers: 1, priority: 3 });
      await add(queues, 31, { payload: { n: 50 }, priority: 5 }, 32, { payload: { n: 10 }, priority: 1 });
      await add(queues, { payload: { n: 33 }, priority: 3 }, { payload: { n: 11 }, priority: 1 });
      const next = await queues.list('cleanup', 'waiting', all);
      const expected = [10, 11, 31, 32, 33, 50];
      assert.deepEqual(
        next.map(({ payload }) => (payload as Payload).n),
        expected,
      );
      const order: number[] = [];
      queues.work(QUEUE, async ({ payload }) => void order.push(payload.n));
      await eventually('all are done', () => order.length === 6);
      assert.deepEqual(order, expected);
    });

    it('start no faster than their queue allows, in all processes together', async () => {
      const some = await openSome(2, { perSecond: 10, workers: 50 });
      const starts: number[] = [];
      await add(some[0], ...Array.from({ length: 35 }, (_, n) => n));
      for (const queues of some) queues.work(QUEUE, async () => void starts.push(performance.now()));
      await eventually('all are done', () => starts.length === 35);
      const tookMs = starts[34] - starts[0];
      assert.ok(tookMs >= 2_400, `35 at 10 a second within ${tookMs} ms`);
      // Windows of a second may meet: at their border twice as many, never more.
      for (let n = 20; n < 35; n++)
        assert.ok(starts[n] - starts[n - 20] > 900, `${n}: ${starts.map(Math.round)}`);
    });

    it('run so many at once as there are workers, and their number changes while they run', async () => {
      const queues = await open({ workers: 2 });
      const gate = new Gate();
      assert.equal((await queues.stats('cleanup')).workers, 0);
      queues.work(QUEUE, gate.handler);
      await add(queues, ...Array.from({ length: 12 }, (_, n) => n));
      await eventually('two are in hand', () => gate.inHand.size === 2);
      await sleep(300);
      assert.equal(gate.inHand.size, 2);
      assert.equal((await queues.stats('cleanup')).active, 2);
      queues.setWorkers('cleanup', 5);
      await eventually('five are, though none is done', () => gate.inHand.size === 5);
      await sleep(300);
      assert.equal(gate.most, 5);
      assert.equal((await queues.stats('cleanup')).workers, 5);
      queues.setWorkers('cleanup', 1);
      gate.letAllGo();
      gate.most = 0;
      for (let left = 7; left > 0; left--) {
        await eventually('the next one is in hand', () => gate.inHand.size > 0);
        await sleep(50);
        gate.letAllGo();
      }
      await eventually('all are done', async () => (await queues.stats('cleanup')).completed === 12);
      assert.equal(gate.most, 1);
    });

    it('that hang do not hold up the others', async () => {
      const queues = await open({ workers: 2 });
      const done: number[] = [];
      queues.work(QUEUE, async ({ payload: { n } }) => {
        if (n === 0) await new Promise(() => undefined);
        done.push(n);
      });
      await add(queues, { payload: { n: 0 }, id: 'hangs' }, 1, 2, 3, 4, 5);
      await eventually('the others are done', () => done.length === 5);
      assert.equal(await stateOf(queues, 'hangs'), 'active');
      assert.equal(await queues.remove('cleanup', 'hangs'), false, 'what runs is not taken away');
    });

    it('tell how far they are', async () => {
      const queues = await open();
      const gate = new Gate();
      queues.work(QUEUE, async (job) => {
        await job.progress(0.25);
        await gate.handler(job);
        await job.progress(1);
      });
      const [id] = await add(queues, 1);
      await eventually('in hand', () => gate.inHand.size === 1);
      const running = await queues.find('cleanup', id);
      assert.deepEqual([running?.state, running?.attempt, running?.progress], ['active', 1, 0.25]);
      gate.letAllGo();
      assert.equal((await becomes(queues, id, 'completed')).progress, 1);
    });
  });

  describe(`A job that fails (${driver})`, () => {
    it('is tried again after pauses that double, as often as its queue says', async () => {
      const queues = await open({ tries: 4, firstBackoffMs: 250 });
      const times: number[] = [];
      const attempts: number[] = [];
      queues.work(QUEUE, async ({ attempt }) => {
        times.push(Date.now());
        attempts.push(attempt);
        throw new Error(`no ${attempt}`);
      });
      const [id] = await add(queues, 1);
      for (const [attempt, pauseMs] of [250, 500, 1000].entries()) {
        await eventually(`try ${attempt + 1} failed`, async () => {
          const info = await queues.find('cleanup', id);
          const isSeen = info?.state === 'delayed' && info.attempt === attempt + 1;
          if (isSeen) {
            assert.ok(info.dueAtMs! <= Date.now() + pauseMs, 'the pause is not longer');
            assert.equal(info.reason, `no ${attempt + 1}`);
          }
          // A slow machine may see only the one after.
          return isSeen || attempts.length > attempt + 1;
        });
      }
      const failed = await becomes(queues, id, 'failed');
      assert.deepEqual(attempts, [1, 2, 3, 4]);
      for (const [n, pauseMs] of [250, 500, 1000].entries())
        assert.ok(times[n + 1] - times[n] >= pauseMs - 1, `pause ${n}: ${times[n + 1] - times[n]} ms`);
      assert.deepEqual([failed.reason, failed.attempt, failed.payload], ['no 4', 4, { n: 1 }]);
      assert.ok(failed.finishedAtMs! >= times[3]);
      const stats = await queues.stats('cleanup');
      assert.deepEqual([stats.failed, stats.completed, stats.delayed], [1, 0, 0]);
      await eventually(
        'every failed try is counted',
        async () => (await queues.stats('cleanup')).failures === 4,
      );
    });

    it('and then succeeds is done', async () => {
      const queues = await open();
      queues.work(QUEUE, async ({ attempt }) => {
        if (attempt < 3) throw new Error('not yet');
        return attempt;
      });
      const [id] = await add(queues, 1);
      const done = await becomes(queues, id, 'completed');
      assert.deepEqual([done.attempt, done.result], [3, 3]);
      assert.equal((await queues.stats('cleanup')).failed, 0);
    });

    it('for good is in the failed set at once', async () => {
      const queues = await open({ tries: 5 });
      let runs = 0;
      queues.work(QUEUE, async () => {
        runs++;
        throw new PermanentError('never');
      });
      const [id] = await add(queues, 1);
      const failed = await becomes(queues, id, 'failed');
      assert.deepEqual([failed.reason, failed.attempt], ['never', 1]);
      await sleep(200);
      assert.equal(runs, 1);
    });

    it('with anything that is thrown has a reason', async () => {
      const queues = await open({ tries: 1 });
      const thrown = ['text', undefined, { a: 1 }, new Error('')];
      queues.work(QUEUE, async ({ payload }) => {
        throw thrown[payload.n];
      });
      const ids = await add(queues, 0, 1, 2, 3);
      for (const id of ids) assert.ok((await becomes(queues, id, 'failed')).reason);
      assert.match((await queues.find('cleanup', ids[0]))!.reason!, /text/);
    });

    it('holds up none of the others', async () => {
      const queues = await open({ workers: 1, tries: 3, firstBackoffMs: 5000 });
      const done: number[] = [];
      queues.work(QUEUE, async ({ payload: { n } }) => {
        if (n === 0) throw new Error('no');
        done.push(n);
      });
      const [bad] = await add(queues, 0, 1, 2, 3);
      await eventually('the others are done', () => done.length === 3);
      assert.equal(await stateOf(queues, bad), 'delayed');
    });

    it('is put back by hand with all its tries: all of them, or those named', async () => {
      const queues = await open({ tries: 2 });
      let isGood = false;
      const attempts: number[] = [];
      queues.work(QUEUE, async ({ attempt }) => {
        attempts.push(attempt);
        if (!isGood) throw new Error('no');
      });
      const ids = await add(queues, ...[0, 1, 2].map((n) => ({ payload: { n }, id: `job-${n}` })));
      for (const id of ids) await becomes(queues, id, 'failed');
      attempts.length = 0;
      assert.equal(await queues.retryFailed('cleanup', ['job-1', 'unknown']), 1);
      await eventually('tried twice again', async () => attempts.length === 2);
      const again = await becomes(queues, 'job-1', 'failed');
      assert.deepEqual([attempts, again.attempt], [[1, 2], 2]);
      isGood = true;
      assert.equal(await queues.retryFailed('cleanup'), 3);
      for (const id of ids) {
        const done = await becomes(queues, id, 'completed');
        assert.deepEqual([done.attempt, done.reason], [1, undefined]);
      }
      assert.equal(await queues.retryFailed('cleanup'), 0);
      assert.equal(await queues.retryFailed('cleanup', ['job-1']), 0, 'a done job is not a failed one');
    });

    it('put back keeps its priority, and waits while its queue is paused', async () => {
      const queues = await open({ tries: 1, workers: 1 });
      let isGood = false;
      const order: number[] = [];
      queues.work(QUEUE, async ({ payload }) => {
        if (!isGood) throw new Error('no');
        order.push(payload.n);
      });
      const [first, last] = await add(
        queues,
        { payload: { n: 9 }, priority: 9 },
        { payload: { n: 1 }, priority: 1 },
      );
      await becomes(queues, first, 'failed');
      await becomes(queues, last, 'failed');
      await queues.pause('cleanup');
      isGood = true;
      assert.equal(await queues.retryFailed('cleanup'), 2);
      await add(queues, 3);
      await sleep(300);
      assert.deepEqual(order, []);
      await queues.resume('cleanup');
      await eventually('all are done', () => order.length === 3);
      assert.deepEqual(order, [1, 3, 9]);
    });
  });

  describe(`A job with an id (${driver})`, () => {
    it('is there once, waiting, running, done or failed, until it is taken away', async () => {
      const queues = await open({ tries: 1 });
      const gate = new Gate();
      const addOne = async (n = 1) => {
        const [added] = await queues.addAll(QUEUE, [{ payload: { n }, id: 'one' }]);
        assert.equal(added.id, 'one');
        return added.isNew;
      };
      assert.equal(await addOne(), true);
      assert.equal(await addOne(2), false, 'waiting');
      assert.deepEqual((await queues.find('cleanup', 'one'))?.payload, { n: 1 }, 'nothing is changed');
      let fails = true;
      queues.work(QUEUE, async (job) => {
        await gate.handler(job);
        if (fails) throw new Error('no');
      });
      await eventually('running', () => gate.inHand.size === 1);
      assert.equal(await addOne(2), false, 'running');
      gate.letAllGo();
      await becomes(queues, 'one', 'failed');
      assert.equal(await addOne(2), false, 'failed');
      fails = false;
      await queues.retryFailed('cleanup');
      await eventually('running again', () => gate.inHand.size === 1);
      gate.letAllGo();
      await becomes(queues, 'one', 'completed');
      assert.equal(await addOne(2), false, 'done');
      assert.equal(await queues.remove('cleanup', 'one'), true);
      assert.equal(await queues.find('cleanup', 'one'), undefined);
      assert.equal(await addOne(2), true);
    });

    it('is added by one of many at once', async () => {
      const some = await openSome(3);
      const jobs = [1, 2, 3].map((n) => ({ payload: { n }, id: 'same' }));
      const answers = await Promise.all(
        Array.from({ length: 12 }, (_, n) => some[n % some.length].addAll(QUEUE, jobs)),
      );
      assert.equal(answers.flat().filter(({ isNew }) => isNew).length, 1);
      assert.equal((await some[0].stats('cleanup')).waiting, 1);
    });

    it('may be called like anything, and an id that is not allowed is refused', async () => {
      const queues = await open();
      const ids = [
        '1',
        '007',
        'wait',
        'active',
        'meta',
        'id',
        'repeat',
        '__proto__',
        'a.b-c_D',
        'x'.repeat(128),
      ];
      const added = await queues.addAll(
        QUEUE,
        ids.map((id, n) => ({ payload: { n }, id })),
      );
      assert.deepEqual(
        added,
        ids.map((id) => ({ id, isNew: true })),
      );
      queues.work(QUEUE, async ({ id }) => id);
      for (const id of ids) assert.equal((await becomes(queues, id, 'completed')).result, id);
      for (const id of ['', 'a:b', 'a b', 'ä', 'a/b', 'x'.repeat(129)])
        await assert.rejects(add(queues, { payload: { n: 1 }, id }), hasCode('INVALID_ARGUMENT'), id);
    });
  });

  describe(`A queue’s payload (${driver})`, () => {
    const lax = { name: 'cleanup', payload: z.unknown() } satisfies JobQueue;

    it('is checked when it is added: one bad job, and none of them is', async () => {
      const queues = await open();
      const bad = { n: 'one' } as unknown as Payload;
      await assert.rejects(
        queues.addAll(QUEUE, [{ payload: { n: 1 } }, { payload: bad }]),
        (error) => hasCode('INVALID_ARGUMENT')(error) && /n/.test((error as Error).message),
      );
      const more = { n: 1, more: true } as unknown as Payload;
      await assert.rejects(add(queues, { payload: more }), hasCode('INVALID_ARGUMENT'));
      assert.equal((await queues.stats('cleanup')).waiting, 0);
    });

    it('is checked again when it is worked off: a job of another version is failed with the reason, and kept', async () => {
      const queues = await open();
      const [{ id }] = await queues.addAll(lax, [{ payload: { of: 'tomorrow' } }]);
      const ran: number[] = [];
      queues.work(QUEUE, async ({ payload }) => void ran.push(payload.n));
      const [good] = await add(queues, 1);
      await becomes(queues, good, 'completed');
      const failed = await becomes(queues, id, 'failed');
      assert.match(failed.reason!, /payload/);
      assert.deepEqual([failed.payload, failed.attempt, ran], [{ of: 'tomorrow' }, 1, [1]]);
    });
  });

  describe(`A queue (${driver})`, () => {
    it('that is paused gives no jobs, in any process and after a restart, until it is resumed', async () => {
      let [queues, other] = await openSome(2);
      const done: number[] = [];
      const handler: JobHandler<Payload> = async ({ payload }) => void done.push(payload.n);
      queues.work(QUEUE, handler);
      other?.work(QUEUE, handler);
      await (other ?? queues).pause('cleanup');
      await add(queues, 1, { payload: { n: 2 }, delayMs: 50 });
      await sleep(400);
      assert.deepEqual(done, []);
      const { isPaused, waiting, delayed } = await queues.stats('cleanup');
      assert.deepEqual([isPaused, waiting + delayed], [true, 2]);
      assert.equal((await queues.stats('aggregation')).isPaused, false);
      await queues.close(1000);
      await other?.close(1000);
      queues = await open();
      queues.work(QUEUE, handler);
      await add(queues, 3);
      await sleep(400);
      assert.deepEqual(done, []);
      assert.equal((await queues.stats('cleanup')).isPaused, true);
      await queues.resume('cleanup');
      await eventually('all are done', () => done.length === 3);
      assert.equal((await queues.stats('cleanup')).isPaused, false);
    });

    it('that is paused lets what runs finish', async () => {
      const queues = await open({ workers: 1 });
      const gate = new Gate();
      queues.work(QUEUE, gate.handler);
      const [first, second] = await add(queues, 1, 2);
      await eventually('in hand', () => gate.inHand.size === 1);
      await queues.pause('cleanup');
      gate.letAllGo();
      await becomes(queues, first, 'completed');
      await sleep(300);
      assert.equal(await stateOf(queues, second), 'waiting');
    });

    it('is worked off once in a process', async () => {
      const queues = await open();
      queues.work(QUEUE, async () => undefined);
      assert.throws(() => queues.work(QUEUE, async () => undefined), /cleanup/);
    });

    it('keeps so many done and failed jobs, the newest', async () => {
      const queues = await open({ keepDone: 5, keepFailed: 3, tries: 1, workers: 1 });
      queues.work(QUEUE, async ({ payload }) => {
        // Within one millisecond none is the newer one.
        await sleep(5);
        if (payload.n % 2) throw new Error('odd');
      });
      await add(queues, ...Array.from({ length: 20 }, (_, n) => n));
      const numbersOf = async (state: JobInfo['state']) =>
        (await queues.list('cleanup', state, all)).map(({ payload }) => (payload as Payload).n);
      await eventually('the last one failed', async () => (await numbersOf('failed')).includes(19));
      await eventually('fives done are kept', async () => (await numbersOf('completed')).length === 5);
      await eventually('three failed are kept', async () => (await numbersOf('failed')).length === 3);
      assert.deepEqual(await numbersOf('completed'), [18, 16, 14, 12, 10]);
      assert.deepEqual(await numbersOf('failed'), [19, 17, 15]);
      const { completed, failed } = await queues.stats('cleanup');
      assert.deepEqual([completed, failed], [10, 3]);
    });

    it('keeps none where it is to keep none', async () => {
      const queues = await open({ keepDone: 0, keepFailed: 0, tries: 1 });
      queues.work(QUEUE, async ({ payload }) => {
        if (payload.n % 2) throw new Error('odd');
      });
      const ids = await add(queues, 0, 1);
      for (const id of ids)
        await eventually(`${id} is gone`, async () => (await stateOf(queues, id)) === undefined);
      const { completed, failed } = await queues.stats('cleanup');
      assert.deepEqual([completed, failed], [1, 0]);
    });

    it('drops done and failed jobs when they are too old, though nothing else happens', async () => {
      const queues = await open({ keepDoneMs: 1000, keepFailedMs: 3000, tries: 1 });
      queues.work(QUEUE, async ({ payload }) => {
        if (payload.n % 2) throw new Error('odd');
      });
      const [good, bad] = await add(queues, 0, 1);
      const failed = await becomes(queues, bad, 'failed');
      await eventually('the done one is gone', async () => (await stateOf(queues, good)) === undefined);
      await eventually('the failed one is gone', async () => (await stateOf(queues, bad)) === undefined);
      assert.ok(Date.now() - failed.finishedAtMs! >= 2900, 'not before its time');
    });

    it('is listed by state, in parts, and jobs are found and taken away', async () => {
      const queues = await open({ workers: 1 });
      await queues.pause('cleanup');
      const ids = await add(queues, 0, 1, 2, 3, 4, { payload: { n: 60 }, delayMs: 60_000 });
      await add(queues, { payload: { n: 30 }, delayMs: 30_000 });
      const numbersOf = async (state: JobInfo['state'], offset = 0, limit = 1000) =>
        (await queues.list('cleanup', state, { offset, limit })).map(({ payload }) => (payload as Payload).n);
      assert.deepEqual(await numbersOf('waiting'), [0, 1, 2, 3, 4]);
      assert.deepEqual(await numbersOf('waiting', 1, 2), [1, 2]);
      assert.deepEqual(await numbersOf('waiting', 5, 2), []);
      assert.deepEqual(await numbersOf('delayed'), [30, 60]);
      assert.deepEqual(await numbersOf('active'), []);
      assert.equal(await queues.find('cleanup', 'unknown'), undefined);
      assert.equal(await queues.remove('cleanup', 'unknown'), false);
      assert.equal(await queues.remove('cleanup', ids[2]), true);
      assert.equal(await queues.remove('cleanup', ids[5]), true);
      assert.equal(await queues.remove('cleanup', ids[5]), false);
      queues.work(QUEUE, () => sleep(5));
      await queues.resume('cleanup');
      await eventually('done', async () => (await numbersOf('completed')).length === 4);
      assert.deepEqual(await numbersOf('completed'), [4, 3, 1, 0], 'the newest first');
      assert.deepEqual(await numbersOf('completed', 1, 2), [3, 1]);
      assert.deepEqual(await numbersOf('delayed'), [30]);
    });

    it('counts what it holds and has done, and says how long the oldest job waits', async () => {
      let queues = await open({ workers: 1, tries: 2, firstBackoffMs: 1 });
      const numbers = async () => {
        const { queue, waiting, active, delayed, completed, failed, failures } =
          await queues.stats('cleanup');
        assert.equal(queue, 'cleanup');
        return { waiting, active, delayed, completed, failed, failures };
      };
      const none = { waiting: 0, active: 0, delayed: 0, completed: 0, failed: 0, failures: 0 };
      assert.deepEqual(await numbers(), none);
      const empty = await queues.stats('cleanup');
      assert.deepEqual([empty.lagMs, empty.busyMs, empty.isPaused, empty.workers], [0, 0, false, 0]);
      await add(queues, { payload: { n: 60 }, delayMs: 60_000 });
      await sleep(100);
      assert.equal((await queues.stats('cleanup')).lagMs, 0, 'a delayed job does not wait');
      await add(queues, 1, 2, 3);
      await sleep(300);
      await add(queues, { payload: { n: 4 }, priority: 1 });
      const { lagMs, isPaused } = await queues.stats('cleanup');
      assert.ok(lagMs >= 299 && lagMs < 60_000, `${lagMs}`);
      const lag = await queues.lag('cleanup');
      assert.deepEqual([lag.lagMs >= lagMs, lag.lagMs < 60_000, lag.isPaused], [true, true, isPaused]);
      assert.deepEqual(await numbers(), { ...none, waiting: 4, delayed: 1 });
      queues.work(QUEUE, async ({ payload }) => {
        await sleep(50);
        if (payload.n === 3) throw new Error('no');
      });
      await eventually('done', async () => (await queues.stats('cleanup')).failed === 1);
      const after = { ...none, delayed: 1, completed: 3, failed: 1, failures: 2 };
      await eventually('counted', async () => (await numbers()).failures === 2);
      assert.deepEqual(await numbers(), after);
      const { busyMs } = await queues.stats('cleanup');
      assert.ok(busyMs >= 3 * 49 && busyMs < 60_000, `${busyMs}`);
      assert.equal((await queues.stats('cleanup')).lagMs, 0);
      await queues.close(1000);
      queues = await open();
      assert.deepEqual(await numbers(), after, 'also after a restart');
      assert.ok((await queues.stats('cleanup')).busyMs >= 3 * 49);
    });
  });

  describe(`A repeated job (${driver})`, () => {
    const EACH_SECOND = '* * * * * *';
    interface Fired {
      id: string;
      n: number;
      tickMs: number | undefined;
    }
    /** Works in all of them, and notes what comes. */
    const note = (some: JobQueues[]) => {
      const fired: Fired[] = [];
      for (const queues of some)
        queues.work(QUEUE, async ({ id, payload, tickMs }) => void fired.push({ id, n: payload.n, tickMs }));
      return fired;
    };

    it('comes once at each tick, however many schedule it, and has the tick in its id', async () => {
      const some = await openSome(3, { keepDone: 0 });
      const fired = note(some);
      for (const queues of some) {
        await queues.repeat(QUEUE, { key: 'one', cron: EACH_SECOND, payload: { n: 1 } });
        await queues.repeat(QUEUE, { key: 'two', cron: '*/2 * * * * *', payload: { n: 2 } });
        queues.schedule();
      }
      await eventually('fired', () => fired.length >= 12);
      for (const queues of some) await queues.close(5000);
      for (const { id, n, tickMs } of fired) {
        assert.equal(tickMs! % (n * 1000), 0);
        assert.equal(id, `${n === 1 ? 'one' : 'two'}:${tickMs}`);
        assert.ok(tickMs! <= Date.now());
      }
      for (const n of [1, 2]) {
        const ticks = fired.filter((job) => job.n === n).map(({ tickMs }) => tickMs!);
        assert.equal(new Set(ticks).size, ticks.length, `no tick twice: ${ticks}`);
        assert.ok(ticks.length >= 4);
      }
    });

    it('leaves out no tick while a scheduler runs', async () => {
      const some = await openSome(2);
      const fired = note(some);
      await some[0].repeat(QUEUE, { key: 'all', cron: EACH_SECOND, payload: { n: 1 } });
      for (const queues of some) queues.schedule();
      await eventually('fired', () => fired.length >= 5);
      const ticks = fired.map(({ tickMs }) => tickMs!).sort();
      const missing = ticks.slice(1).filter((tick, n) => tick - ticks[n] !== 1000);
      assert.deepEqual(missing, [], `${ticks}`);
    });

    it('that was missed while nobody scheduled is made up for once, by the last tick missed', async () => {
      let queues = await open();
      await queues.repeat(QUEUE, { key: 'missed', cron: EACH_SECOND, payload: { n: 1 } });
      await queues.close(0);
      await sleep(3500);
      queues = await open();
      // As every start does.
      await queues.repeat(QUEUE, { key: 'missed', cron: EACH_SECOND, payload: { n: 1 } });
      const fired = note([queues]);
      const startedAt = Date.now();
      queues.schedule();
      await eventually('fired', () => fired.length >= 3);
      await queues.close(5000);
      const ticks = fired.map(({ tickMs }) => tickMs!).sort();
      const early = ticks.filter((tick) => tick <= startedAt);
      assert.equal(early.length, 1, `once: ${ticks} from ${startedAt}`);
      assert.ok(startedAt - early[0] < 1000, 'the last one');
    });

    it('does not come while nobody schedules, nor before its tick', async () => {
      const queues = await open();
      const fired = note([queues]);
      await queues.repeat(QUEUE, { key: 'later', cron: '0 0 1 1 *', payload: { n: 1 } });
      await queues.repeat(QUEUE, { key: 'soon', cron: EACH_SECOND, payload: { n: 2 } });
      await sleep(1500);
      assert.deepEqual(fired, []);
      queues.schedule();
      await eventually('soon', () => fired.length >= 2);
      assert.ok(fired.every(({ n }) => n === 2));
    });

    it('is replaced under its key, and stops', async () => {
      const queues = await open();
      const fired = note([queues]);
      queues.schedule();
      await queues.repeat(QUEUE, { key: 'a', cron: EACH_SECOND, payload: { n: 1 } });
      await queues.repeat(QUEUE, { key: 'b', cron: '0 0 * * *', payload: { n: 2 } });
      await eventually('fired', () => fired.length >= 1);
      await queues.repeat(QUEUE, { key: 'a', cron: '*/1 * * * * *', payload: { n: 3 } });
      const repeats = (await queues.repeats(QUEUE)).sort((one, other) => one.key.localeCompare(other.key));
      assert.deepEqual(repeats, [
        { key: 'a', cron: '*/1 * * * * *', payload: { n: 3 } },
        { key: 'b', cron: '0 0 * * *', payload: { n: 2 } },
      ]);
      assert.deepEqual(await queues.repeats(OTHER), []);
      await eventually('the new one comes', () => fired.some(({ n }) => n === 3));
      const ticks = fired.map(({ tickMs }) => tickMs);
      assert.equal(new Set(ticks).size, ticks.length);
      assert.equal(await queues.stopRepeating(QUEUE, 'a'), true);
      assert.equal(await queues.stopRepeating(QUEUE, 'a'), false);
      assert.equal(await queues.stopRepeating(QUEUE, 'unknown'), false);
      await sleep(300);
      const before = fired.length;
      await sleep(2500);
      assert.equal(fired.length, before);
      assert.deepEqual(
        (await queues.repeats(QUEUE)).map(({ key }) => key),
        ['b'],
      );
    });

    it('that was added stays when its repetition stops, and is due once it is added, though nobody works', async () => {
      const queues = await open();
      queues.schedule();
      await queues.repeat(QUEUE, { key: 'kept', cron: EACH_SECOND, payload: { n: 1 } });
      await eventually('two wait', async () => (await queues.stats('cleanup')).waiting >= 2);
      await queues.stopRepeating(QUEUE, 'kept');
      await sleep(300);
      const { waiting } = await queues.stats('cleanup');
      await sleep(1500);
      assert.equal((await queues.stats('cleanup')).waiting, waiting);
      const fired = note([queues]);
      await eventually('all are done', () => fired.length === waiting);
    });

    it('is there after a restart', async () => {
      let queues = await open();
      await queues.repeat(QUEUE, { key: 'stays', cron: EACH_SECOND, payload: { n: 1 } });
      await queues.repeat(QUEUE, { key: 'goes', cron: EACH_SECOND, payload: { n: 2 } });
      await queues.stopRepeating(QUEUE, 'goes');
      await queues.close(0);
      queues = await open();
      assert.deepEqual(await queues.repeats(QUEUE), [{ key: 'stays', cron: EACH_SECOND, payload: { n: 1 } }]);
      const fired = note([queues]);
      queues.schedule();
      await eventually('fired', () => fired.length >= 2);
      assert.ok(fired.every(({ n }) => n === 1));
    });

    it('with a bad cron line, key or payload is refused', async () => {
      const queues = await open();
      const repeat = (cron: string, key = 'k', payload: unknown = { n: 1 }) =>
        queues.repeat(QUEUE, { key, cron, payload: payload as Payload });
      for (const cron of ['', 'every day', '* * * *', '61 * * * *', '* * * * * * *', '@daily', '0 0 31 2 *'])
        await assert.rejects(
          repeat(cron),
          (error) => hasCode('INVALID_ARGUMENT')(error) && (error as Error).message.includes('cron'),
          cron,
        );
      await assert.rejects(repeat(EACH_SECOND, 'a:b'), hasCode('INVALID_ARGUMENT'));
      await assert.rejects(repeat(EACH_SECOND, 'k', { n: 'x' }), hasCode('INVALID_ARGUMENT'));
      assert.deepEqual(await queues.repeats(QUEUE), []);
    });
  });

  describe(`The end of a process (${driver})`, () => {
    it('waits for the jobs in hand and takes no more', async () => {
      let queues = await open({ workers: 2 });
      const gate = new Gate();
      queues.work(QUEUE, gate.handler);
      const ids = await add(queues, 1, 2, 3, 4);
      await eventually('two are in hand', () => gate.inHand.size === 2);
      let isClosed = false;
      const closing = queues.close(60_000).then(() => (isClosed = true));
      await sleep(300);
      assert.equal(isClosed, false);
      const inHand = [...gate.inHand.keys()];
      gate.letAllGo();
      await closing;
      assert.equal(gate.inHand.size, 0);
      queues = await open();
      for (const [index, id] of ids.entries())
        assert.equal(
          await stateOf(queues, id),
          inHand.includes(index + 1) ? 'completed' : 'waiting',
          `${index}`,
        );
    });

    it('signals the jobs that take longer; one that heeds it is tried again, and no try is lost', async () => {
      let queues = await open({ tries: 1 });
      let signalled = 0;
      queues.work(QUEUE, async ({ signal }) => {
        await new Promise((_, reject) =>
          signal.addEventListener('abort', () => {
            signalled++;
            reject(new Error('stopped'));
          }),
        );
      });
      const [id] = await add(queues, 1);
      await becomes(queues, id, 'active');
      await queues.close(100);
      assert.equal(signalled, 1);
      queues = await open({ tries: 1 });
      queues.work(QUEUE, async ({ attempt }) => attempt);
      assert.equal((await becomes(queues, id, 'completed')).result, 1);
    });

    it('gives back what runs on all the same', async () => {
      let queues = await open();
      queues.work(QUEUE, () => new Promise(() => undefined));
      const ids = await add(queues, 1, 2);
      for (const id of ids) await becomes(queues, id, 'active');
      await queues.close(50);
      queues = await open();
      for (const id of ids)
        assert.equal(await stateOf(queues, id), 'waiting', 'at once, not when a lock is over');
      queues.work(QUEUE, async ({ attempt }) => attempt);
      for (const id of ids) assert.equal((await becomes(queues, id, 'completed')).result, 1);
    });

    it('comes at once when nothing is in hand, twice as well as once', async () => {
      const queues = await open();
      queues.work(QUEUE, async () => undefined);
      queues.schedule();
      await Promise.all([queues.close(60_000), queues.close(60_000)]);
      await queues.close(60_000);
    });

    it('by kill -9 loses no job: what ran is done by the next one', async () => {
      let queues = await open();
      const ids = await add(queues, { payload: { n: 1, act: 'hang' } }, 2, 3);
      if (!store.isShared) await queues.close(0);
      const child = startChild();
      await child.says('started 1');
      await child.says('done 3');
      await child.end('SIGKILL');
      if (!store.isShared) queues = await open();
      const ran: number[] = [];
      queues.work(QUEUE, async ({ payload }) => void ran.push(payload.n));
      for (const id of ids) await becomes(queues, id, 'completed');
      assert.ok(ran.includes(1));
      assert.equal((await queues.stats('cleanup')).failed, 0);
    });

    it('by a job that kills it: the job is in the failed set after the second time, and all others are done', async () => {
      let queues = await open();
      const [poison] = await add(queues, { payload: { n: 0, act: 'die' } });
      const others = await add(queues, 1, 2, 3, 4, 5);
      await queues.close(0);
      for (let time = 0; time < 2; time++) {
        const child = startChild();
        await child.exited;
        assert.equal(child.process.signalCode, 'SIGKILL');
        assert.ok(child.lines.includes('started 0'));
      }
      const child = startChild();
      queues = store.isShared ? await open() : queues;
      if (store.isShared) await becomes(queues, poison, 'failed');
      else await sleep(3000);
      assert.equal(child.process.exitCode ?? child.process.signalCode, null, 'the third lives');
      await child.end('SIGTERM');
      assert.ok(!child.lines.includes('started 0'));
      if (!store.isShared) queues = await open();
      const failed = await becomes(queues, poison, 'failed');
      assert.ok(failed.reason);
      assert.deepEqual(failed.payload, { n: 0, act: 'die' });
      queues.work(QUEUE, async () => undefined);
      for (const id of others) await becomes(queues, id, 'completed');
    });

    it('by a job whose work the next one does: it is failed after the first time, and never runs again', async () => {
      let queues = await open();
      const act = { n: 0, act: 'die' as const };
      await queues.addAll(REDONE, [{ id: 'poison', payload: act }]);
      const others = await add(queues, 1, 2, 3);
      await queues.close(0);
      const child = startChild();
      await child.exited;
      assert.equal(child.process.signalCode, 'SIGKILL');
      queues = await open();
      const ran: number[] = [];
      queues.work(REDONE, async ({ payload }) => void ran.push(payload.n));
      queues.work(QUEUE, async () => undefined);
      const find = () => queues.find(REDONE.name, 'poison');
      await eventually('it has failed', async () => (await find())?.state === 'failed');
      assert.deepEqual([(await find())!.reason, ran], [NOT_TRIED_AGAIN, []]);
      for (const id of others) await becomes(queues, id, 'completed');
      assert.equal(await queues.retryFailed(REDONE.name), 1);
      await eventually('a retry by hand is a new start', async () => (await find())?.state === 'completed');
    });

    it('by a job that kills it: those beside it are not taken for its like', async () => {
      const queues = await open();
      const others = await add(queues, ...[1, 2, 3].map((n) => ({ payload: { n, act: 'slow' as const } })));
      const [poison] = await add(queues, { payload: { n: 0, act: 'die' } });
      await queues.close(0);
      for (let time = 0; time < 2; time++) await startChild().exited;
      const again = await open();
      again.work(QUEUE, async () => undefined);
      await becomes(again, poison, 'failed');
      for (const id of others) await becomes(again, id, 'completed');
    });
  });
}
