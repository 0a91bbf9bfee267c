import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import pino from 'pino';
import type { Principal } from '../edge/principal.js';
import type { Scope } from '../edge/scope.js';
import { CacheService } from './cache.service.js';
import { keysUnder } from './cache-key.js';
import { CacheProfile } from './cache-profile.js';
import { Cacheable } from './cacheable.js';

const scopeOf = (tenantId: string): Scope => ({ organizationId: 'o', workspaceId: 'w', tenantId });
const userOf = (id: string, tenantId: string): Principal => ({
  kind: 'user',
  id,
  name: id,
  scope: scopeOf(tenantId),
  permissions: new Set(['read'] as const),
});

class Services {
  calls = 0;
  constructor(readonly cache: CacheService) {}

  @Cacheable({ keyPrefix: 'services', ttlProfile: CacheProfile.MEDIUM })
  async list(scope: Scope, ...rest: unknown[]) {
    this.calls++;
    return { tenant: scope.tenantId, rest: rest.length };
  }

  @Cacheable({ keyPrefix: 'mine', ttlProfile: CacheProfile.SHORT, includeUserId: true })
  async mine(principal: Principal) {
    this.calls++;
    return { user: principal.id, tenant: principal.scope.tenantId };
  }
}

describe('@Cacheable', () => {
  const newServices = () =>
    new Services(new CacheService({ maxEntries: 100, maxBytes: 1e6 }, undefined, pino({ level: 'silent' })));

  it('computes once for the same tenant and arguments', async () => {
    const services = newServices();
    for (let n = 0; n < 3; n++) {
      assert.deepEqual(await services.list(scopeOf('t1'), 'a', { from: 1 }), { tenant: 't1', rest: 2 });
      assert.deepEqual(await services.list(scopeOf('t2'), 'a', { from: 1 }), { tenant: 't2', rest: 2 });
      assert.deepEqual(await services.list(scopeOf('t1'), 'a', { from: 2 }), { tenant: 't1', rest: 2 });
      assert.deepEqual(await services.list(scopeOf('t1')), { tenant: 't1', rest: 0 });
    }
    assert.equal(services.calls, 4);
    assert.deepEqual(Object.keys(services.cache.getStats().prefixes), ['services']);
  });

  it('is dropped with its tenant', async () => {
    const services = newServices();
    for (const tenant of ['t1', 't2'])
      for (const rest of [[], ['a']]) await services.list(scopeOf(tenant), ...rest);
    await services.cache.delPattern(keysUnder('services', scopeOf('t1')));
    for (const tenant of ['t1', 't2'])
      for (const rest of [[], ['a']]) await services.list(scopeOf(tenant), ...rest);
    assert.equal(services.calls, 6);
  });

  it('keeps users apart where it is told to', async () => {
    const services = newServices();
    for (let n = 0; n < 2; n++)
      for (const [id, tenant] of [
        ['u1', 't1'],
        ['u2', 't1'],
        ['u1', 't2'],
      ])
        assert.deepEqual(await services.mine(userOf(id, tenant)), { user: id, tenant });
    assert.equal(services.calls, 3);
  });

  it('refuses a method that does not say whose its result is', async () => {
    const services = newServices();
    for (const owner of [undefined, null, 't1', {}, { tenantId: '' }, { scope: {} }])
      await assert.rejects(services.list(owner as never), /first argument has to be the Scope/);
    await assert.rejects(services.mine(scopeOf('t1') as never), TypeError, 'a scope is no user');
    assert.equal(services.calls, 0);
    const decorate = Cacheable({ keyPrefix: 'p', ttlProfile: CacheProfile.SHORT });
    assert.throws(() => decorate(services, 'none', { value: async () => 1 } as never), /first argument/);
    assert.throws(() => decorate(services, 'field', {} as never), /is for methods/);
  });

  it('refuses arguments that are not plain data: they would all be the same key', async () => {
    await assert.rejects(newServices().list(scopeOf('t1'), new AbortController().signal), TypeError);
  });
});
