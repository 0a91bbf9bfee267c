import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { Redis as Client } from 'ioredis';
import { drain, entryOf, MIB, takeSoon, textsOf } from '../../test/support/queue-entries.js';
import { type RedisServer, startRedis } from '../../test/support/redis-server.js';
import { until } from '../../test/support/until.js';
import { AppError } from '../errors.js';
import { BodyPool } from '../memory/body-pool.js';
import { BatchLost } from '../queue/ingest-queue.js';
import { ingestQueueSuite } from '../queue/ingest-queue.suite.js';
import { RedisIngestQueue, type RedisQueueOptions } from './redis-ingest-queue.js';
import { PREFIX } from './script.js';

const PATIENCE_MS = 10_000;
let redis: RedisServer;
let admin: Client;
before(async () => {
  redis = await startRedis('--appendonly', 'yes');
  admin = new Client(redis.url, { db: 2 });
  admin.on('error', () => undefined);
});
after(async () => {
  admin.disconnect();
  await redis.stop();
});

async function openQueue(options: Partial<RedisQueueOptions> = {}): Promise<RedisIngestQueue> {
  const log = { error: () => undefined, warn: () => undefined, info: () => undefined };
  const defaults = {
    url: redis.url,
    maxBacklogBytes: 1024 * MIB,
    perSecond: 1e6,
    bodies: new BodyPool(),
    log,
  };
  const queue = new RedisIngestQueue({ ...defaults, ...options });
  await queue.ready(PATIENCE_MS);
  return queue;
}

/** A queue on an empty Redis. */
async function openNew(
  context: TestContext,
  options: Partial<RedisQueueOptions> = {},
): Promise<RedisIngestQueue> {
  await admin.flushall();
  const queue = await openQueue(options);
  context.after(() => queue.close());
  return queue;
}

ingestQueueSuite('in Redis', async () => {
  await admin.flushall();
  return (options) => openQueue(options);
});

const hasCode = (code: string) => (error: unknown) => error instanceof AppError && error.code === code;
/** As when its holder fell silent 10 s ago. */
const letLeaseRunOut = (id: string) => admin.zadd(`${PREFIX}held:traces`, 1, id);

describe('The ingestion queue in Redis, shared', () => {
  it('what one process adds another one takes, and is told of at once', async (context) => {
    const api = await openNew(context);
    const worker = await openQueue();
    context.after(() => worker.close());
    const taking = takeSoon(worker, { limits: { maxAgeMs: 0 }, patienceMs: PATIENCE_MS });
    await api.add(entryOf('hello'));
    const batch = await taking;
    assert.deepEqual(await textsOf(batch), ['hello']);
    assert.deepEqual((await api.add(entryOf('hello'))).duplicate, true);
    if (batch) worker.done(batch);
    assert.equal((await worker.stats()).waitingEntries, 0);
    assert.deepEqual(await admin.keys(`${PREFIX}body:*`), [], 'no body is left behind');
  });

  it('gives a batch to another process when its holder falls silent: same id, same entries, one interruption', async (context) => {
    const first = await openNew(context);
    const second = await openQueue();
    context.after(() => second.close());
    for (const text of ['a', 'b']) await first.add(entryOf(text));
    const lost = await takeSoon(first, { patienceMs: PATIENCE_MS });
    assert.ok(lost);
    await first.add(entryOf('c'));
    await letLeaseRunOut(lost.id);
    const given = await takeSoon(second, { patienceMs: PATIENCE_MS });
    assert.deepEqual([given?.id, given?.attempt, given?.interruptions], [lost.id, 2, 1]);
    assert.deepEqual(await textsOf(given), ['a', 'b']);
    await assert.rejects(first.beginInsert(lost, 1), BatchLost);
    await second.beginInsert(given!, 1);
    await letLeaseRunOut(lost.id);
    const begun = await takeSoon(first, { patienceMs: PATIENCE_MS });
    assert.deepEqual([begun?.id, begun?.interruptions], [lost.id, 1], 'its insert had begun');
    second.done(given!);
    await second.stats();
    assert.deepEqual(await textsOf(begun), ['a', 'b'], 'what a former holder says changes nothing');
    first.done(begun!);
    assert.deepEqual(await drain(first), ['c']);
  });

  it('a process that ends with a batch is held against its halves too, one that hands it back is not', async (context) => {
    const queue = await openNew(context);
    await queue.add(entryOf('a'));
    await queue.add(entryOf('b'));
    const batch = await takeSoon(queue, { patienceMs: PATIENCE_MS });
    queue.retry(batch!, 0);
    const again = await takeSoon(queue, { patienceMs: PATIENCE_MS });
    assert.equal(again?.interruptions, 0);
    await letLeaseRunOut(again!.id);
    const suspect = await takeSoon(queue, { patienceMs: PATIENCE_MS });
    assert.equal(suspect?.interruptions, 1);
    await queue.split(suspect!);
    const half = await takeSoon(queue, { patienceMs: PATIENCE_MS });
    assert.deepEqual([half?.entries.length, half?.interruptions], [1, 1]);
    await queue.close();
    const next = await openQueue();
    context.after(() => next.close());
    const given = await takeSoon(next, { patienceMs: PATIENCE_MS });
    assert.equal(given?.interruptions, 1, 'handed back at the stop');
  });

  it('a clock that is set back does not put off what is due', async (context) => {
    const queue = await openNew(context);
    await queue.add(entryOf('a'));
    const lost = await takeSoon(queue, { patienceMs: PATIENCE_MS });
    const hourAhead = Date.now() + 3_700_000;
    await admin.zadd(`${PREFIX}held:traces`, hourAhead, lost!.id);
    await takeSoon(queue, { patienceMs: 50 });
    const leaseEnds = Number(await admin.zscore(`${PREFIX}held:traces`, lost!.id));
    assert.ok(leaseEnds < Date.now() + 11_000, `${leaseEnds}`);
    await queue.add(entryOf('b'));
    const [lane] = await admin.zrange(`${PREFIX}age:traces`, 0, 0);
    await admin.zadd(`${PREFIX}age:traces`, hourAhead, lane);
    assert.deepEqual(await textsOf(await takeSoon(queue, { patienceMs: PATIENCE_MS })), ['b']);
  });

  it('makes no new batch while one that may be in the store could be forgotten there before it is repeated', async (context) => {
    const queue = await openNew(context);
    await queue.add(entryOf('stuck'));
    const stuck = await takeSoon(queue, { patienceMs: PATIENCE_MS });
    await queue.beginInsert(stuck!, 2);
    await queue.add(entryOf('busy'));
    const busy = await takeSoon(queue, { patienceMs: PATIENCE_MS });
    await queue.beginInsert(busy!, 499);
    queue.done(busy!);
    await queue.add(entryOf('waits'));
    assert.equal(await takeSoon(queue, { patienceMs: 300 }), undefined);
    queue.done(stuck!);
    assert.deepEqual(await drain(queue), ['waits']);
  });

  it('a batch that several halves came from is forgotten whole', async (context) => {
    const queue = await openNew(context);
    const texts = [...Array(40).keys()].map((i) => `text ${i}`);
    await Promise.all(texts.map((text) => queue.add(entryOf(text))));
    const whole = await takeSoon(queue, { patienceMs: PATIENCE_MS });
    await queue.split(whole!);
    const half = await takeSoon(queue, { patienceMs: PATIENCE_MS });
    await queue.split(half!);
    assert.deepEqual((await drain(queue)).sort(), texts.sort());
    const kinds = (await admin.keys(`${PREFIX}*`)).map((key) => key.slice(PREFIX.length).split(':')[0]);
    const kept = ['born', 'count', 'rate', 'seen'];
    assert.deepEqual(
      kinds.filter((kind) => !kept.includes(kind)),
      [],
    );
  });
});

describe('The ingestion queue in Redis, and faults of Redis', () => {
  it('kill -9 with the append-only file: everything acknowledged is there, held batches keep their ids', async (context) => {
    const queue = await openNew(context);
    const texts = [...Array(300).keys()].map((i) => `text ${i}`);
    await Promise.all(texts.slice(0, 10).map((text) => queue.add(entryOf(text))));
    const held = await takeSoon(queue, { patienceMs: PATIENCE_MS });
    const acknowledged = new Set(texts.slice(0, 10));
    const adding = texts.slice(10).map(async (text, index) => {
      await new Promise((resolve) => setTimeout(resolve, index));
      await queue.add(entryOf(text)).then(
        () => acknowledged.add(text),
        (error) => assert.ok(hasCode('UNAVAILABLE')(error), String(error)),
      );
    });
    await new Promise((resolve) => setTimeout(resolve, 120));
    await redis.kill();
    await Promise.all(adding);
    assert.ok(acknowledged.size < texts.length, 'it was killed in the middle');
    await assert.rejects(queue.add(entryOf('away')), hasCode('UNAVAILABLE'));
    await redis.start();
    await queue.ready(PATIENCE_MS);
    queue.done(held!);
    const stored = new Set([...(await drain(queue)), ...texts.slice(0, 10)]);
    assert.deepEqual(
      [...acknowledged].filter((text) => !stored.has(text)),
      [],
    );
  });

  it('a Redis that hangs: adding is refused soon, what it then did is folded, takers go on', async (context) => {
    const queue = await openNew(context);
    const taking = takeSoon(queue, { patienceMs: 30_000 });
    redis.freeze();
    const startedAt = performance.now();
    await assert.rejects(queue.add(entryOf('again')), hasCode('UNAVAILABLE'));
    assert.ok(performance.now() - startedAt < 5000);
    redis.thaw();
    await queue.ready(PATIENCE_MS);
    await queue.add(entryOf('again'));
    const batch = await taking;
    assert.deepEqual(await textsOf(batch), ['again']);
    queue.done(batch!);
    assert.equal((await queue.stats()).waitingEntries, 0);
  });

  it('a flush loses what waited; that is counted, and the queue goes on', async (context) => {
    const queue = await openNew(context);
    await queue.add(entryOf('held'));
    const held = await takeSoon(queue, { patienceMs: PATIENCE_MS });
    for (const text of ['a', 'b']) await queue.add(entryOf(text));
    // Until it has looked.
    await until('it was seen', () => queue.watch.seen.entries === 3);
    await admin.flushall();
    await until('it was noticed', async () => (await queue.stats()).lostEntries === 3);
    await assert.rejects(queue.beginInsert(held!, 1), BatchLost);
    assert.deepEqual(await queue.add(entryOf('a')), { duplicate: false });
    assert.deepEqual(await drain(queue), ['a']);
    assert.equal((await queue.stats()).backlogBytes, 0);
  });

  it('refuses before the memory of Redis is in danger, and can be emptied when there is none left', async (context) => {
    const queue = await openNew(context);
    const used = Number(/used_memory:(\d+)/.exec(await admin.info('memory'))?.[1]);
    await admin.config('SET', 'maxmemory', String(used + 20 * MIB));
    context.after(() => admin.config('SET', 'maxmemory', '0'));
    await until('it has looked', () => queue.watch.memory.maxBytes > 0);
    let count = 0;
    const fill = async () => {
      for (; ; count++) await queue.add(entryOf(`${count}`, { bytes: 500_000 }));
    };
    await assert.rejects(fill(), hasCode('BACKLOG_FULL'));
    assert.ok(count > 5 && count < 40, `${count}`);
    await admin.config('SET', 'maxmemory', '1mb');
    await assert.rejects(queue.add(entryOf('more')), hasCode('BACKLOG_FULL'));
    assert.equal((await drain(queue)).length, count);
  });
});
