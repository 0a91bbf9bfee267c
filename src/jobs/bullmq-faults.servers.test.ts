import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Redis as Client } from 'ioredis';
import { z } from 'zod';
import { DURABLE, type RedisServer, startRedis } from '../../test/support/redis-server.js';
import { AppError } from '../errors.js';
import { BullMqJobs } from './bullmq-jobs.js';
import type { JobQueue } from './job-queue.js';
import { allQueues, SUITE_NUMBERS } from './job-queues.suite.js';

const CHILD = fileURLToPath(new URL('../../test/support/bullmq-child.js', import.meta.url));
const QUEUE = {
  name: 'cleanup',
  payload: z.looseObject({ n: z.int() }),
} satisfies JobQueue<{ n: number }>;
const HOUR_MS = 3_600_000;
const EACH_SECOND = '* * * * * *';

async function eventually(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 60_000; !(await condition()); await sleep(20))
    assert.ok(Date.now() < deadline, `not within a minute: ${what}`);
}

describe('Jobs on a Redis with faults', () => {
  let server: RedisServer;
  const opened: BullMqJobs[] = [];
  const children: ChildProcess[] = [];
  const said: string[] = [];

  const start = async (...options: string[]) => (server = await startRedis(...DURABLE, ...options));
  const open = async (requestMs?: number) => {
    const note = (first: unknown, text?: string) => void said.push(text ?? String(first));
    const jobs = await BullMqJobs.open({
      url: server.url,
      database: 2,
      numbers: allQueues(SUITE_NUMBERS),
      log: { info: note, warn: note, error: note },
      times: { lockMs: 4_000, checkMs: 500 },
      requestMs,
    });
    opened.push(jobs);
    return jobs;
  };
  const startChild = (...role: string[]) => {
    const args = [CHILD, server.url, JSON.stringify(SUITE_NUMBERS), ...role];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    const lines: string[] = [];
    createInterface(child.stdout!).on('line', (line) => lines.push(line));
    const end = async (signal: NodeJS.Signals) => {
      child.kill(signal);
      await once(child, 'close');
    };
    return { lines, end };
  };
  const ask = async (...command: [string, ...string[]]) => {
    const client = new Client(server.url, { db: 2 });
    const answer = await client.call(...command);
    client.disconnect();
    return answer;
  };
  const addAll = (jobs: BullMqJobs, numbers: number[]) =>
    jobs.addAll(
      QUEUE,
      numbers.map((n) => ({ payload: { n }, id: `job-${n}` })),
    );
  const isAway = (error: unknown) =>
    error instanceof AppError && error.code === 'UNAVAILABLE' && error.status === 503;
  /** Adds them, and again what was not acknowledged. */
  const addInAnyCase = async (jobs: BullMqJobs, numbers: number[]) => {
    for (const n of numbers) {
      const add = () =>
        addAll(jobs, [n]).then(
          () => true,
          (error) => {
            if (!isAway(error)) throw error;
            return false;
          },
        );
      await eventually(`job ${n} is added`, add);
    }
  };
  const completed = async (jobs: BullMqJobs) =>
    (await jobs.stats('cleanup').catch(() => undefined))?.completed ?? -1;
  const upTo = (count: number) => Array.from({ length: count }, (_, n) => n);

  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    server.thaw();
    await Promise.all(opened.splice(0).map((jobs) => jobs.close(0)));
    await server.stop();
    said.length = 0;
  });

  it('that ends and starts again: nothing acknowledged is lost, and the workers go on by themselves', async () => {
    await start();
    const jobs = await open();
    const done = new Set<number>();
    await jobs.repeat(QUEUE, { key: 'tick', cron: EACH_SECOND, payload: { n: -1 } });
    jobs.schedule();
    jobs.work(QUEUE, async ({ payload }) => {
      await sleep(20);
      done.add(payload.n);
    });
    for (let round = 0; round < 3; round++) {
      await addInAnyCase(
        jobs,
        upTo(50).map((n) => round * 100 + n),
      );
      await server.kill();
      await assert.rejects(addAll(jobs, [round * 100 + 99]), isAway);
      await server.start();
    }
    await addInAnyCase(jobs, [999]);
    await eventually('all are done', () => done.size === 152);
    const ticks = async () => (await jobs.list('cleanup', 'completed', { offset: 0, limit: 1000 })).length;
    const before = await ticks();
    await eventually('the repeated ones go on', async () => (await ticks()) > before + 1);
    assert.equal((await jobs.stats('cleanup')).failed, 0);
  });

  it('that is away at the start: the program starts, and does its work when Redis is there', async () => {
    await start();
    await server.kill();
    const jobs = await open();
    const done: number[] = [];
    jobs.work(QUEUE, async ({ payload }) => void done.push(payload.n));
    jobs.schedule();
    await jobs.repeat(QUEUE, { key: 'tick', cron: EACH_SECOND, payload: { n: -1 } });
    await assert.rejects(addAll(jobs, [1]), isAway);
    await assert.rejects(jobs.stats('cleanup'), isAway);
    await server.start();
    await addInAnyCase(jobs, [2]);
    await eventually('done', () => done.includes(2) && done.includes(-1));
    assert.ok(!done.includes(1));
  });

  it('that hangs: adding is refused and not waited for, and all goes on afterwards', async () => {
    await start();
    const jobs = await open();
    const done = new Set<number>();
    jobs.work(QUEUE, async ({ payload }) => {
      await sleep(50);
      done.add(payload.n);
    });
    await addInAnyCase(jobs, upTo(100));
    server.freeze();
    const results = await Promise.allSettled(upTo(20).map((n) => addAll(jobs, [200 + n])));
    for (const result of results) assert.ok(result.status === 'rejected' && isAway(result.reason));
    await assert.rejects(jobs.pause('cleanup'), isAway);
    // Longer than the locks of the jobs in hand.
    await sleep(6_000);
    server.thaw();
    await addInAnyCase(jobs, [300]);
    await eventually('all are done', () => upTo(100).every((n) => done.has(n)) && done.has(300));
    await eventually('and noted', async () => {
      const { waiting, active, delayed } = await jobs.stats('cleanup');
      return waiting + active + delayed === 0;
    });
    assert.equal((await jobs.stats('cleanup')).failed, 0);
  });

  it('that is emptied: it is said, the repeated jobs are made again, and new ones are done', async () => {
    await start();
    const jobs = await open(10_000);
    const other = await open(10_000);
    const done: { n: number; tickMs: number | undefined }[] = [];
    jobs.work(QUEUE, async ({ payload: { n }, tickMs }) => void done.push({ n, tickMs }));
    await other.repeat(QUEUE, { key: 'a', cron: EACH_SECOND, payload: { n: 1 } });
    await other.repeat(QUEUE, { key: 'b', cron: '0 0 * * *', payload: { n: 2 } });
    jobs.schedule();
    other.schedule();
    await eventually('it ticks', () => done.length >= 2);
    await addAll(jobs, [7]);
    await jobs.pause('aggregation');
    await ask('FLUSHALL');
    const at = Date.now();
    await eventually('it ticks again', () => done.some(({ tickMs = 0 }) => tickMs > at));
    const keys = (await jobs.repeats(QUEUE)).map(({ key }) => key).sort();
    assert.deepEqual(keys, ['a', 'b']);
    assert.ok(said.some((text) => /emptied/.test(text)));
    const ticks = done.flatMap(({ tickMs }) => tickMs ?? []);
    assert.equal(new Set(ticks).size, ticks.length, 'none twice');
    assert.equal((await jobs.stats('aggregation')).isPaused, false, 'what was only in Redis is gone');
    await addAll(jobs, [8]);
    await eventually('a new one is done', () => done.some(({ n }) => n === 8));
  });

  it('that is full: adding is refused with 503, and goes on when there is room', async () => {
    await start();
    const jobs = await open(10_000);
    await addAll(jobs, upTo(10));
    await ask('CONFIG', 'SET', 'maxmemory', '1mb');
    await assert.rejects(addAll(jobs, [100]), isAway);
    assert.equal((await jobs.stats('cleanup')).waiting, 10, 'it can be looked at');
    await ask('CONFIG', 'SET', 'maxmemory', '0');
    await addAll(jobs, [101]);
    jobs.work(QUEUE, async () => undefined);
    await eventually('all are done', async () => (await completed(jobs)) === 11);
  });

  it('workers killed again and again: every job is done, and no crash uses up a try', async () => {
    await start();
    const jobs = await open(10_000);
    const count = 200;
    await jobs.addAll(
      QUEUE,
      upTo(count).map((n) => ({ payload: { n, act: n % 4 === 0 ? 'slow' : 'quick' } })),
    );
    const all: string[][] = [];
    for (let kill = 0; kill < 4; kill++) {
      const child = startChild();
      all.push(child.lines);
      await eventually('it works', () => child.lines.filter((line) => line.startsWith('done')).length > 8);
      await child.end('SIGKILL');
    }
    const last = startChild();
    all.push(last.lines);
    await eventually('all are done', async () => (await completed(jobs)) === count);
    const { failed, failures, active } = await jobs.stats('cleanup');
    assert.deepEqual([failed, failures, active], [0, 0, 0]);
    const kept = await jobs.list('cleanup', 'completed', { offset: 0, limit: count });
    assert.deepEqual(new Set(kept.map(({ attempt }) => attempt)), new Set([1]));
    const starts = all.flat().filter((line) => line.startsWith('started'));
    for (const n of upTo(count)) {
      const times = starts.filter((line) => line === `started ${n}`).length;
      assert.ok(times >= 1 && times <= 2, `job ${n} ran ${times} times`);
    }
    // No more than were in hand of a killed one.
    assert.ok(starts.length <= count + 4 * SUITE_NUMBERS.workers, `${starts.length}`);
  });

  it('schedulers in two processes, one of which is killed: each tick once, and none left out', async () => {
    await start();
    const jobs = await open(10_000);
    const ticks: number[] = [];
    jobs.work(QUEUE, async ({ tickMs }) => void ticks.push(tickMs!));
    await jobs.repeat(QUEUE, { key: 'tick', cron: EACH_SECOND, payload: { n: 1 } });
    const [one, two] = [startChild('schedule'), startChild('schedule')];
    await eventually('both schedule', () => one.lines.length + two.lines.length === 2);
    await eventually('it ticks', () => ticks.length >= 4);
    await one.end('SIGKILL');
    const atKill = ticks.length;
    await eventually('it goes on', () => ticks.length >= atKill + 4);
    ticks.sort((a, b) => a - b);
    for (const [n, tick] of ticks.slice(1).entries()) assert.equal(tick - ticks[n], 1000, `${ticks}`);
  });

  it('the clock of a process jumps an hour ahead and back: each job is done once, each tick comes once', async () => {
    await start();
    const jobs = await open(10_000);
    const realNow = Date.now;
    let jumpMs = 0;
    Date.now = () => realNow() + jumpMs;
    try {
      const done: number[] = [];
      const ticks: number[] = [];
      jobs.work(QUEUE, async ({ payload: { n }, tickMs, attempt }) => {
        if (tickMs !== undefined) return void ticks.push(tickMs);
        if (n % 10 === 0 && attempt === 1) throw new Error('one more time');
        done.push(n);
      });
      await jobs.repeat(QUEUE, { key: 'tick', cron: EACH_SECOND, payload: { n: -1 } });
      jobs.schedule();
      for (const jump of [0, HOUR_MS, 0, -HOUR_MS, 0]) {
        jumpMs = jump;
        const before = done.length;
        const ticksBefore = ticks.length;
        await addAll(
          jobs,
          upTo(20).map((n) => before + n),
        );
        await eventually('all are done', () => done.length >= before + 20);
        await eventually('it ticks', () => ticks.length >= ticksBefore + 2);
      }
      assert.deepEqual(
        done.sort((a, b) => a - b),
        upTo(100),
      );
      assert.equal(new Set(ticks).size, ticks.length, 'no tick twice');
      await eventually('nothing is left', async () => {
        const { waiting, active, delayed } = await jobs.stats('cleanup');
        return waiting + active + delayed === 0;
      });
      assert.equal((await jobs.stats('cleanup')).failed, 0);
    } finally {
      Date.now = realNow;
    }
  });
});
