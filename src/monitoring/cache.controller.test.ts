import 'reflect-metadata';
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { FastifyRequest } from 'fastify';
import pino from 'pino';
import { Registry } from 'prom-client';
import { CacheService } from '../cache/cache.service.js';
import { keys } from '../cache/cache-key.js';
import { CacheProfile } from '../cache/cache-profile.js';
import type { AuditEvent, AuditTrail } from '../edge/audit.js';
import type { Principal } from '../edge/principal.js';
import { CacheController } from './cache.controller.js';
import { cacheFigures } from './cache.schema.js';
import { registerCacheMetrics } from './cache-metrics.js';

const scopeOf = (tenantId: string) => ({ organizationId: 'o', workspaceId: 'w', tenantId });
const admin: Principal = {
  kind: 'user',
  id: 'u',
  name: 'u@example.com',
  scope: scopeOf('t1'),
  permissions: new Set(['admin']),
};
const request = { ip: '10.0.0.9', id: 'c1' } as FastifyRequest;

async function setUp() {
  const cache = new CacheService({ maxEntries: 100, maxBytes: 1e6 }, undefined, pino({ level: 'silent' }));
  const events: AuditEvent[] = [];
  const audit: AuditTrail = { record: async (event) => void events.push(event), refuse: () => undefined };
  const controller = new CacheController(cache, audit);
  const all = ['t1', 't2'].flatMap((tenant) => [
    keys.answer('metrics', scopeOf(tenant), 'live', 'n', 1),
    keys.answer('metrics', scopeOf(tenant), 'days', 'n', 1),
    keys.trace(scopeOf(tenant), 'abc'),
  ]);
  for (const key of [...all, keys.session('s', '1')]) await cache.wrap(key, CacheProfile.SHORT, () => 'v');
  /** @returns which of the keys of both tenants are left */
  const left = async () => {
    const there: number[] = [];
    for (const [n, key] of all.entries()) if ((await cache.get(key)) !== undefined) there.push(n);
    return there;
  };
  const drop = (pattern?: string) =>
    controller.drop(admin, request, pattern === undefined ? {} : { pattern });
  return { cache, controller, events, left, drop };
}

it('What is dropped is what the pattern means, of the own tenant', async () => {
  for (const [pattern, how, expected] of [
    ['metrics:live:*', 'pattern', [1, 2, 3, 4, 5]],
    ['metrics:*', 'pattern', [2, 3, 4, 5]],
    ['trace:abc', 'key', [0, 1, 3, 4, 5]],
    ['trace:t2:abc', 'key', [0, 1, 2, 3, 4, 5]],
    ['*:*', 'pattern', [3, 4, 5]],
    [undefined, 'tenant', [3, 4, 5]],
  ] as const) {
    const { drop, left, events, cache } = await setUp();
    await drop(pattern);
    assert.deepEqual(await left(), expected, pattern);
    assert.equal(await cache.get(keys.session('s', '1')), 'v');
    const [{ action, principal, remoteAddress, correlationId, details }] = events;
    assert.deepEqual(
      { action, principal, remoteAddress, correlationId, details },
      {
        action: 'cache.invalidate',
        principal: admin,
        remoteAddress: '10.0.0.9',
        correlationId: 'c1',
        details: { pattern: pattern ?? '*', how },
      },
    );
  }
});

it('What is no pattern, or of no tenant, is refused and drops nothing', async () => {
  const { drop, left, events } = await setUp();
  for (const pattern of ['user:session:*', 'met*', '', 'a b', 'rbac:*'])
    await assert.rejects(drop(pattern), { code: 'INVALID_ARGUMENT' }, pattern);
  assert.deepEqual([(await left()).length, events.length], [6, 0]);
});

it('The figures are those of the cache, in the shape that is described, and as metrics', async () => {
  const { cache, controller } = await setUp();
  const fresh = cacheFigures.parse(controller.read());
  assert.deepEqual([fresh.hit_rate, fresh.misses, fresh.l2, fresh.computed.count], [0, 7, null, 7]);
  await cache.wrap(keys.trace(admin.scope, 'abc'), CacheProfile.SHORT, () => 'v');
  const { prefixes, l1 } = cacheFigures.parse(controller.read());
  assert.deepEqual(prefixes.trace, { l1_hits: 1, l2_hits: 0, misses: 2, stale: 0, hit_rate: 0.3333 });
  assert.deepEqual([l1.hits, l1.hit_rate, l1.entries], [1, 0.125, 7]);
  const registry = new Registry();
  registerCacheMetrics(registry, cache);
  await registry.metrics();
  const text = await registry.metrics();
  assert.match(text, /^telemetryflow_cache_answers_total\{prefix="trace",source="L1"\} 1$/m);
  assert.match(text, /^telemetryflow_cache_answers_total\{prefix="metrics",source="miss"\} 4$/m);
  assert.match(text, /^telemetryflow_cache_entries 7$/m);
  assert.doesNotMatch(text, /^telemetryflow_cache_redis_up/m);
});
