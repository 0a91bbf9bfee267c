import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { until } from '../../test/support/until.js';
import type { IngestBatch, TakeLimits } from '../queue/ingest-queue.js';
import type { Signal } from '../signal.js';
import { BatchHands } from './batch-hands.js';

/** A queue that always has what a test says, and batches that are worked on until the test says so. */
class Bench {
  readonly stopping = new AbortController();
  readonly inHand: Signal[] = [];
  most = 0;
  private readonly ends: (() => void)[] = [];
  readonly hands: BatchHands;

  constructor(workers: number, threads: number, waiting: Partial<Record<Signal, 'small' | 'full'>>) {
    const take = (signal: Signal, limits: TakeLimits, abort: AbortSignal) => {
      const isDue = waiting[signal] === 'full' || (waiting[signal] === 'small' && limits.maxAgeMs < 1000);
      if (isDue) return Promise.resolve({ signal } as IngestBatch);
      return new Promise<undefined>((resolve) => {
        abort.addEventListener('abort', () => resolve(undefined));
      });
    };
    const work = async ({ signal }: IngestBatch) => {
      this.inHand.push(signal);
      this.most = Math.max(this.most, this.inHand.length);
      await new Promise<void>((resolve) => this.ends.push(resolve));
      this.inHand.splice(this.inHand.indexOf(signal), 1);
    };
    this.hands = new BatchHands({ take }, threads, workers, work, { error: assert.fail });
    this.hands.start(this.stopping.signal);
  }

  end(): void {
    this.ends.shift()?.();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    const ending = setInterval(() => this.end(), 1);
    await this.hands.empty();
    clearInterval(ending);
  }
}

/** Long enough for whatever could be taken to be taken. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
}

describe('Batches in hand', () => {
  it('of each signal one, and a full one more for each further thread', async () => {
    const bench = new Bench(10, 1, { traces: 'full', logs: 'small' });
    await settle();
    assert.deepEqual(bench.inHand.sort(), ['logs', 'traces', 'traces']);
    await bench.stop();
  });

  it('a small one waits until the one before it is over', async () => {
    const bench = new Bench(10, 4, { logs: 'small' });
    for (let i = 0; i < 3; i++) {
      await until('one is in hand', () => bench.inHand.length === 1);
      await settle();
      assert.equal(bench.most, 1);
      bench.end();
    }
    await bench.stop();
  });

  it('never more than workers, whose number can be changed', async () => {
    const bench = new Bench(2, 4, { traces: 'full', logs: 'full', metrics: 'full' });
    await settle();
    assert.equal(bench.inHand.length, 2);
    bench.hands.setWorkers(5);
    await until('five are in hand', () => bench.inHand.length === 5);
    bench.hands.setWorkers(1);
    for (let i = 0; i < 5; i++) bench.end();
    await until('one is in hand', () => bench.inHand.length === 1);
    await settle();
    assert.equal(bench.inHand.length, 1);
    await bench.stop();
  });

  it('with one worker every signal has its turn, also while another one has nothing', async () => {
    const bench = new Bench(1, 1, { metrics: 'small' });
    await until('metrics are in hand', () => bench.inHand.includes('metrics'));
    assert.equal(bench.most, 1);
    await bench.stop();
  });
});
