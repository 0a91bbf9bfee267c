import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis as Client } from 'ioredis';
import type { Logger } from 'pino';
import { type Redis, RedisAway, runScript } from '../connections/redis.js';
import type { QueueName } from '../queue-numbers.js';
import { ownKey, PUT_REPEAT, STOP_REPEAT } from './bullmq-keys.js';
import { tickAfter, tickUntil } from './cron.js';
import type { Repeat } from './job-queue.js';

/** How long a change of another process may go unseen. */
const MAX_SLEEP_MS = 1_000;
const MIN_SLEEP_MS = 5;
const RETRY_MS = 500;
/** Ticks that are added in one step; the rest follows at once. */
const LOT = 100;

/** A tick that has come. */
export interface DueJob {
  id: string;
  payload: unknown;
}

/** Adds jobs and runs further commands, all or none, unless what was watched has changed: then it returns false. */
export type AddInOneStep = (
  queue: QueueName,
  jobs: DueJob[],
  more: (transaction: { runCommand(name: string, args: unknown[]): unknown }) => void,
) => Promise<boolean>;

/** What is known of a queue's repetitions: enough to make them again in a Redis that was emptied. */
interface Mirror {
  born: string | undefined;
  changes: string | undefined;
  entries: Record<string, string>;
}

const entryOf = ({ cron, payload }: Repeat) => JSON.stringify({ cron, payload });
const readEntry = (entry: string) => JSON.parse(entry) as { cron: string; payload: unknown };

/**
 * Repeated jobs. BullMQ's own job schedulers are not used: they add the next tick when the one before is taken by a worker, so
 * that a busy or paused queue shifts them, and setting one again drops a tick that was missed. Here the next tick of each key is kept in
 * Redis, and moving it on and adding the job is one transaction: of several schedulers one succeeds. The clock is that of Redis.
 */
export class BullMqRepeats {
  private readonly mirrors = new Map<QueueName, Mirror>();
  /** Asked for while Redis was away. */
  private readonly wanted = new Map<string, { queue: QueueName; repeat: Repeat }>();
  private readonly stop = new AbortController();
  private running: Promise<void> | undefined;
  private retrying: Promise<void> | undefined;

  /**
   * @param redis for what is asked for
   * @param scheduling a connection that nothing else uses: what it watches must not be mixed up with others' transactions
   */
  constructor(
    private readonly redis: Redis,
    private readonly scheduling: Redis,
    private readonly addInOneStep: AddInOneStep,
    private readonly queues: readonly QueueName[],
    private readonly log: Pick<Logger, 'warn' | 'error'>,
  ) {}

  /** Redis being away is no reason to fail: it is told as soon as it is there. */
  async put(queue: QueueName, repeat: Repeat): Promise<void> {
    try {
      await this.tell(queue, repeat);
      this.wanted.delete(`${queue}:${repeat.key}`);
    } catch (error) {
      if (!(error instanceof RedisAway)) throw error;
      this.wanted.set(`${queue}:${repeat.key}`, { queue, repeat });
      this.retrying ??= this.retry().finally(() => (this.retrying = undefined));
    }
  }

  async remove(queue: QueueName, key: string): Promise<boolean> {
    const wasWanted = this.wanted.delete(`${queue}:${key}`);
    const found = await this.redis.evaluate(STOP_REPEAT, keysOf(queue), [randomUUID(), key]);
    return found === 1 || wasWanted;
  }

  async list(queue: QueueName): Promise<Repeat[]> {
    const entries = await this.redis.request((client) => client.hgetall(ownKey(queue, 'repeats')));
    return Object.entries(entries).map(([key, entry]) => ({ key, ...readEntry(entry) }));
  }

  /** Adds jobs as their ticks come, until `close`. */
  start(): void {
    this.running ??= this.run();
  }

  async close(): Promise<void> {
    this.stop.abort();
    await this.running;
  }

  private async tell(queue: QueueName, repeat: Repeat): Promise<void> {
    await this.redis.request(async (client) => {
      const next = tickAfter(repeat.cron, await timeOf(client));
      const values = [randomUUID(), repeat.key, entryOf(repeat), repeat.cron, next];
      await runScript(client, PUT_REPEAT, keysOf(queue), values);
    });
  }

  private async retry(): Promise<void> {
    while (this.wanted.size > 0 && !this.stop.signal.aborted) {
      await sleep(RETRY_MS, undefined, { ref: false });
      for (const [id, { queue, repeat }] of this.wanted)
        await this.tell(queue, repeat).then(
          () => this.wanted.delete(id),
          () => undefined,
        );
    }
  }

  private async run(): Promise<void> {
    while (!this.stop.signal.aborted) {
      const waits = await Promise.all(this.queues.map((queue) => this.look(queue)));
      for (const [index, waitMs] of waits.entries())
        if (waitMs <= 0) await this.attempt(this.queues[index], () => this.fire(this.queues[index]));
      const waitMs = Math.min(MAX_SLEEP_MS, Math.max(MIN_SLEEP_MS, ...[Math.min(...waits)]));
      await sleep(waitMs, undefined, { signal: this.stop.signal }).catch(() => undefined);
    }
  }

  /** Milliseconds until the next tick of a queue. */
  private async look(queue: QueueName): Promise<number> {
    return (
      (await this.attempt(queue, () =>
        this.scheduling.request(async (client) => {
          const [about, [, score], now] = await Promise.all([
            client.hgetall(ownKey(queue, 'about')),
            client.zrange(ownKey(queue, 'ticks'), 0, 0, 'WITHSCORES'),
            timeOf(client),
          ]);
          await this.keepMirror(client, queue, about, now);
          return score === undefined ? MAX_SLEEP_MS : Number(score) - now;
        }),
      )) ?? RETRY_MS
    );
  }

  /** Learns what has changed, and makes again what is gone with everything else. */
  private async keepMirror(client: Client, queue: QueueName, about: Record<string, string>, now: number) {
    const known = this.mirrors.get(queue);
    if (known?.born !== undefined && known.born !== about.born) {
      this.log.warn(
        { queue },
        'Redis was emptied: the jobs in it are lost, the repeated ones are made again',
      );
      for (const [key, entry] of Object.entries(known.entries)) {
        const { cron } = readEntry(entry);
        await runScript(client, PUT_REPEAT, keysOf(queue), [
          randomUUID(),
          key,
          entry,
          cron,
          tickAfter(cron, now),
        ]);
      }
      about = await client.hgetall(ownKey(queue, 'about'));
    }
    if (known && known.born === about.born && known.changes === about.changes) return;
    const entries = await client.hgetall(ownKey(queue, 'repeats'));
    this.mirrors.set(queue, { born: about.born, changes: about.changes, entries });
  }

  /** Adds what is due and moves its tick on, in one step; of several ticks that were missed the last one. */
  private async fire(queue: QueueName): Promise<void> {
    const [repeats, ticks] = keysOf(queue);
    const { now, due, entries } = await this.scheduling.request(async (client) => {
      await client.watch(repeats, ticks);
      const time = await timeOf(client);
      const keys = await client.zrangebyscore(ticks, '-inf', time, 'LIMIT', 0, LOT);
      return { now: time, due: keys, entries: keys.length > 0 ? await client.hmget(repeats, ...keys) : [] };
    });
    const jobs: DueJob[] = [];
    const next: (string | number)[] = [];
    for (const [index, key] of due.entries()) {
      if (entries[index] === null) continue;
      const { cron, payload } = readEntry(entries[index]);
      jobs.push({ id: `${key}:${tickUntil(cron, now)}`, payload });
      next.push(tickAfter(cron, now), key);
    }
    if (jobs.length === 0) return void (await this.scheduling.request((client) => client.unwatch()));
    await this.addInOneStep(queue, jobs, (transaction) => transaction.runCommand('zadd', [ticks, ...next]));
  }

  private async attempt<T>(queue: QueueName, act: () => Promise<T>): Promise<T | undefined> {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof RedisAway))
        this.log.error({ queue, err: error }, 'Repeated jobs were not added');
      return undefined;
    }
  }
}

const keysOf = (queue: QueueName) => [
  ownKey(queue, 'repeats'),
  ownKey(queue, 'ticks'),
  ownKey(queue, 'about'),
];

async function timeOf(client: Client): Promise<number> {
  const [seconds, microseconds] = await client.time();
  return Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000);
}
