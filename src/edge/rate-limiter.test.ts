import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import pino from 'pino';
import { AppError } from '../errors.js';
import { MemoryBuckets } from './memory-buckets.js';
import type { Principal } from './principal.js';
import { assertAllowed, type LimitVerdict, RateLimiter } from './rate-limiter.js';
import { type SharedBucketStore, takeTokens } from './token-bucket.js';

const SETTINGS = {
  THROTTLE_LIMIT: 3,
  THROTTLE_TTL: 60_000,
  THROTTLE_INGESTION_LIMIT: 5,
  THROTTLE_INGESTION_TTL: 60_000,
};
const log = pino({ level: 'silent' });
const scope = { organizationId: 'o', workspaceId: 'w', tenantId: 't' };
const someone = (kind: Principal['kind'], id: string, limits?: Principal['limits']): Principal => ({
  kind,
  id,
  name: id,
  scope,
  permissions: new Set(),
  limits,
});
const limiter = (settings = SETTINGS, shared?: SharedBucketStore) =>
  new RateLimiter(settings, new MemoryBuckets(1000, () => 0), shared, log);
/** How many of twenty are let in. */
async function letIn(take: () => LimitVerdict | undefined | Promise<LimitVerdict>): Promise<number> {
  let count = 0;
  for (let n = 0; n < 20; n++) if ((await take())?.allowed ?? true) count++;
  return count;
}

describe('The rate limiter', () => {
  it('has a bucket for each key and each user, whatever address they come from', async () => {
    const limits = limiter();
    for (const principal of [someone('key', '1'), someone('key', '2'), someone('user', '1')])
      assert.equal(await letIn(() => limits.take('default', principal, `10.0.0.${Math.random()}`)), 3);
  });

  it('has a bucket for each address where nobody is known, and one for all of an IPv6 network', async () => {
    const limits = limiter();
    const anonymous = someone('anonymous', 'anonymous');
    let from = 0;
    assert.equal(
      await letIn(() => limits.take('default', from++ % 2 ? undefined : anonymous, '10.0.0.1')),
      3,
    );
    assert.equal(await letIn(() => limits.take('default', undefined, '10.0.0.2')), 3);
    assert.equal(await letIn(() => limits.take('default', undefined, `2001:db8::${++from}`)), 3);
    assert.equal(await letIn(() => limits.take('default', undefined, undefined)), 3);
  });

  it('keeps the profiles apart: default, ingestion, and ten logins a minute', async () => {
    const limits = limiter();
    assert.equal(await letIn(() => limits.take('default', undefined, '10.0.0.1')), 3);
    assert.equal(await letIn(() => limits.take('ingestion', undefined, '10.0.0.1')), 5);
    assert.equal(await letIn(() => limits.take('login', undefined, '10.0.0.1')), 10);
    const refused = (await limits.take('login', undefined, '10.0.0.1'))!;
    assert.deepEqual([refused.limit, refused.ttlMs, refused.retryAfterMs], [10, 60_000, 6000]);
  });

  it('lets a key’s own limits go before the settings, profile by profile', async () => {
    const limits = limiter();
    const key = someone('key', '1', { ingestion: { limit: 7, ttlMs: 1000 } });
    assert.equal(await letIn(() => limits.take('ingestion', key, undefined)), 7);
    assert.equal(await letIn(() => limits.take('default', key, undefined)), 3);
    const free = someone('key', '2', { default: { limit: 0, ttlMs: 1000 } });
    assert.equal(limits.take('default', free, undefined), undefined);
  });

  it('says nothing where the limit is 0', () => {
    const limits = limiter({ ...SETTINGS, THROTTLE_LIMIT: 0 });
    assert.equal(limits.take('default', undefined, '10.0.0.1'), undefined);
    assert.ok(limits.take('ingestion', undefined, '10.0.0.1'));
  });

  it('tells whom it refuses for how long, at least a second', () => {
    const verdict = { allowed: false, limit: 1000, ttlMs: 60_000, remaining: 0, resetAtMs: 0 };
    for (const [retryAfterMs, retryAfterSeconds] of [
      [60, 1],
      [1000, 1],
      [1001, 2],
    ])
      assert.throws(
        () => assertAllowed({ ...verdict, retryAfterMs }),
        (error) =>
          error instanceof AppError &&
          error.code === 'RATE_LIMITED' &&
          error.retryAfterSeconds === retryAfterSeconds,
      );
  });

  it('asks the shared buckets while they are up, and goes on with its own when they fail', async () => {
    const shared = { isUp: true, works: true, asked: 0 };
    const store: SharedBucketStore = {
      get isUp() {
        return shared.isUp;
      },
      take: async (_, limit, cost) => {
        shared.asked++;
        if (!shared.works) throw new Error('gone');
        return takeTokens(undefined, limit, cost, 0);
      },
    };
    const limits = limiter(SETTINGS, store);
    const take = () => limits.take('default', undefined, '10.0.0.1');
    assert.equal(await letIn(take), 20, 'these shared buckets are always full');
    shared.works = false;
    assert.equal(await letIn(take), 3, 'its own are limited too');
    assert.equal(shared.asked, 40);
    shared.isUp = false;
    assert.equal(await letIn(take), 0);
    assert.equal(shared.asked, 40, 'not asked while they are away');
    Object.assign(shared, { isUp: true, works: true });
    assert.equal(await letIn(take), 20);
  });
});
