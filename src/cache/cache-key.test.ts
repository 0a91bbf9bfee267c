import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { hashOf, keyPart, keys, keysNamed, keysUnder, prefixOf } from './cache-key.js';
import { groupMeant, groupsOf, matchesPattern, whatIsMeant } from './invalidation.js';

const scopeOf = (tenantId: string) => ({ organizationId: 'o', workspaceId: 'w', tenantId });
const scope = scopeOf('t1');
const text = fc.oneof(
  fc.string({ maxLength: 4, unit: fc.constantFrom('a', ':', '%', '*', '#', '~', '\ud800', 'é', '?') }),
  fc.string(),
  fc.string({ minLength: 195, maxLength: 260 }),
);
const plain = fc.oneof(
  text,
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
  fc.constant(undefined),
  fc.jsonValue(),
);

describe('Keys of the cache', () => {
  it('are readable where their parts are', () => {
    assert.equal(keys.metrics(scope, 'http.server.duration', 'h1'), 'metrics:t1:http.server.duration:h1');
    assert.equal(keys.logs(scope, 'h1'), 'logs:t1:h1');
    assert.equal(keys.dashboard(scope, '456'), 'dashboard:t1:456');
    assert.equal(keys.trace(scope, 'abc'), 'trace:t1:abc');
    assert.equal(keys.services(scope), 'services:t1');
    assert.equal(keys.session('s1', '7'), 'user:session:s1@7');
    assert.equal(keys.permissions('u1', '7'), 'rbac:permissions:u1@7');
    assert.match(keys.query(scope, 'SELECT 1', { a: 1 }), /^query:t1:[\w-]{22}$/);
    assert.match(keys.answer('logs', scope, 'live', 'search', { a: 1 }), /^logs:t1:live:search:[\w-]{22}$/);
    assert.equal(prefixOf(keys.logs(scope, 'h1')), 'logs');
  });

  it('are the same for the same parts only, whatever the parts hold', () => {
    const parts = fc.tuple(text, text, text);
    fc.assert(
      fc.property(parts, parts, ([t1, m1, h1], [t2, m2, h2]) => {
        const isSame = t1 === t2 && m1 === m2 && h1 === h2;
        const one = keys.metrics(scopeOf(t1), m1, h1);
        assert.equal(one === keys.metrics(scopeOf(t2), m2, h2), isSame);
        assert.notEqual(keys.trace(scopeOf(t1), m1), keys.dashboard(scopeOf(t1), m1));
      }),
      { numRuns: 2000 },
    );
  });

  it('of calls are the same for the same tenant, user and arguments only', () => {
    const call = fc.tuple(text, fc.option(text, { nil: undefined }), fc.array(plain, { maxLength: 3 }));
    fc.assert(
      fc.property(call, call, ([t1, u1, a1], [t2, u2, a2]) => {
        const isSame = t1 === t2 && u1 === u2 && hashOf(a1) === hashOf(a2);
        assert.equal(keys.call('p', scopeOf(t1), u1, a1) === keys.call('p', scopeOf(t2), u2, a2), isSame);
      }),
      { numRuns: 2000 },
    );
    assert.notEqual(keys.call('p', scope, undefined, [1]), keys.call('p', scope, undefined, ['1']));
    assert.notEqual(keys.call('p', scope, undefined, ['#1']), keys.call('p', scope, undefined, [1]));
    assert.notEqual(keys.call('p', scope, 'u', []), keys.call('p', scope, undefined, ['#user', 'u']));
  });

  it('of one tenant are never meant by a pattern of another', () => {
    fc.assert(
      fc.property(text, text, text, (one, other, metric) => {
        const isMeant = whatIsMeant({ kind: 'pattern', pattern: keysUnder('metrics', scopeOf(one)) });
        assert.equal(isMeant(keys.metrics(scopeOf(other), metric, 'h')), one === other);
      }),
      { numRuns: 2000 },
    );
  });

  it("named by a person are the own tenant's alone, whatever is written", () => {
    const texts = (name: string) => keysNamed(scope, name).map(({ text }) => text);
    assert.deepEqual(texts('metrics:*'), ['metrics:t1:*']);
    assert.deepEqual(texts('logs:live:*'), ['logs:t1:live:*']);
    assert.deepEqual(keysNamed(scope, 'trace:abc'), [
      { text: 'trace:t1:abc', key: keys.trace(scope, 'abc') },
    ]);
    assert.deepEqual(texts('*').slice(0, 2), ['services:t1:*', 'metrics:t1:*']);
    assert.deepEqual(
      [texts('user:session:*'), texts('rbac:*'), texts('metr*:*'), texts('')],
      [[], [], [], []],
    );
    const others = [keys.answer('metrics', scopeOf('t2'), 'live', 'n', {}), keys.trace(scopeOf('t2'), 't1')];
    const anything = fc.string({
      unit: fc.constantFrom('*', '?', ':', 't', '1', '2', 'metrics', 'trace', 'live'),
      maxLength: 8,
    });
    fc.assert(
      fc.property(anything, (name) => {
        for (const { text, key } of keysNamed(scope, name)) {
          const isMeant = whatIsMeant(key ? { kind: 'key', key } : { kind: 'pattern', pattern: text });
          for (const other of others) assert.equal(isMeant(other), false, text);
        }
      }),
      { numRuns: 5000 },
    );
  });

  it('hold no character that a pattern or Redis would take for something else', () => {
    fc.assert(
      fc.property(text, (value) => {
        assert.match(keyPart(value), /^[\w./@=,+$#%~-]{0,201}$/);
      }),
    );
  });
});

describe('The hash of parameters', () => {
  it('does not depend on the order of fields, and on everything else', () => {
    assert.equal(hashOf({ a: 1, b: [2, { c: 3, d: 4 }] }), hashOf({ b: [2, { d: 4, c: 3 }], a: 1 }));
    const different = [
      1,
      '1',
      1n,
      null,
      undefined,
      [],
      {},
      [1],
      ['1'],
      { a: 1 },
      [['a', 1]],
      new Date(1),
      -0,
      0,
      '',
      NaN,
    ];
    assert.equal(new Set(different.map(hashOf)).size, different.length);
    assert.equal(hashOf({ a: undefined }), hashOf({}));
  });

  it('refuses what is not plain data', () => {
    for (const value of [() => 1, Symbol('s'), new AbortController().signal, { a: [new URL('http://h')] }])
      assert.throws(() => hashOf(value), TypeError);
  });
});

describe('Patterns', () => {
  const key = fc.string({ unit: fc.constantFrom('a', 'b', ':'), maxLength: 12 });
  const pattern = fc.string({ unit: fc.constantFrom('a', 'b', ':', '*', '?'), maxLength: 8 });

  it('mean what the same regular expression means', () => {
    fc.assert(
      fc.property(pattern, key, (glob, name) => {
        const expression = new RegExp(`^${glob.replace(/\*/g, '.*').replace(/\?/g, '.')}$`);
        assert.equal(matchesPattern(glob, name), expression.test(name));
      }),
      { numRuns: 5000 },
    );
  });

  it('take no longer than pattern times key, whatever they are', () => {
    const startedAt = performance.now();
    assert.equal(matchesPattern('*a'.repeat(200), `${'a'.repeat(5000)}b`), false);
    assert.ok(performance.now() - startedAt < 500);
  });

  it('that end a part mean it and all under it: the groups that each key is in', () => {
    assert.deepEqual(groupsOf('a:b:c:d:e'), ['a:', 'a:b:', 'a:b:c:']);
    assert.deepEqual(groupsOf('services:t1'), ['services:']);
    for (const [glob, group] of [
      ['a:*', 'a:'],
      ['a:b:*', 'a:b:'],
      ['a:b:c:*', 'a:b:c:'],
      ['a:b:c:d:*', undefined],
      ['a*', undefined],
      ['*', undefined],
      ['a:*:*', undefined],
      ['a:?:*', undefined],
    ] as const)
      assert.equal(groupMeant(glob), group, glob);
    const isMeant = whatIsMeant({ kind: 'pattern', pattern: keysUnder('services', scope) });
    assert.deepEqual(
      [keys.services(scope), keys.services(scope, 'x'), keys.services(scopeOf('t11'))].map(isMeant),
      [true, true, false],
    );
    fc.assert(
      fc.property(key, key, (name, prefix) => {
        const group = groupMeant(`${prefix}:*`);
        if (group === undefined) return;
        const means = whatIsMeant({ kind: 'pattern', pattern: `${prefix}:*` });
        const isIn = groupsOf(name).includes(group) || `${name}:` === group;
        assert.equal(means(name as never), isIn, 'in memory as in Redis');
      }),
      { numRuns: 3000 },
    );
  });
});
