import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import pino from 'pino';
import { type RedisServer, startRedis } from '../../test/support/redis-server.js';
import { until } from '../../test/support/until.js';
import { openCache } from '../cache/cache.module.js';
import { resolveRange } from '../http/time.js';
import type { Meta } from '../store/statement.js';
import { Answers } from './answers.js';
import { StaleAnswers } from './stale-answers.js';

const log = pino({ level: 'silent' });
const scope = { organizationId: 'o', workspaceId: 'w', tenantId: 't1' };
const meta: Meta = { source: 'raw', cache: 'miss', rows_read: 5, bytes_read: 50, elapsed_ms: 3 };

let redis: RedisServer;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());

it('An answer of one instance is given by another of the same store, until rows are stored by either', async () => {
  const settings = { REDIS_URL: redis.url, CACHE_L1_ENTRIES: 1000, CACHE_L1_BYTES: 1e8 };
  const caches = [openCache(settings, log), openCache(settings, log)];
  await until('connected', () =>
    caches.every(({ service, redis }) => service.getStats().isListening && redis!.isUp),
  );
  const nowMs = Date.now();
  let asks = 0;
  const ask = async (instance: number, store = 'shared') => {
    const range = resolveRange(undefined, undefined, nowMs);
    const asked = {
      kind: 'logs',
      name: 'search',
      from: undefined,
      to: undefined,
      range,
      question: {},
    } as const;
    const answers = new Answers(caches[instance].service, 'until-changed', store);
    const never = new AbortController().signal;
    const answer = await answers.get(scope, asked, nowMs, async () => ({ nth: ++asks, meta }), never);
    return [answer.nth, answer.meta.cache];
  };
  assert.deepEqual(
    [await ask(0), await ask(1), await ask(1)],
    [
      [1, 'miss'],
      [1, 'L2'],
      [1, 'L1'],
    ],
  );
  assert.deepEqual(await ask(1, 'of its own'), [2, 'miss']);
  const stale = new StaleAnswers(caches[0].service);
  stale.stored(scope, 'logs', { minMs: nowMs, maxMs: nowMs }, nowMs);
  await stale.close();
  await until('heard', () => caches[1].service.getStats().invalidations.heard >= 2);
  assert.deepEqual(
    [await ask(1), await ask(0)],
    [
      [3, 'miss'],
      [3, 'L2'],
    ],
  );
  for (const cache of caches) await cache.close();
});
