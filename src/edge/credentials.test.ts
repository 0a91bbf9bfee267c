import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AppError } from '../errors.js';
import { Credentials, isLoopback } from './credentials.js';
import type { Identities } from './principal.js';

const scope = { organizationId: 'o', workspaceId: 'w', tenantId: 't' };
const nobody: Identities = { find: async () => undefined, expire: () => undefined };
const refused = (error: unknown) => error instanceof AppError && error.code === 'UNAUTHENTICATED';

describe('Without a key', () => {
  const credentials = new Credentials(nobody, scope, 'loopback');
  const from = (remoteAddress: string | undefined, headers = {}) =>
    credentials.resolve({ headers, remoteAddress });

  it('this machine acts for the default tenant', async () => {
    for (const address of ['127.0.0.1', '127.8.9.1', '::1', '::ffff:127.0.0.1'])
      assert.equal((await from(address)).scope, scope);
    for (const host of ['localhost:4318', '127.0.0.1', '[::1]:3000', 'api.localhost']) {
      assert.equal((await from('127.0.0.1', { host })).scope, scope);
    }
  });

  it('may send and nothing else', async () => {
    assert.deepEqual([...(await from('127.0.0.1')).permissions], ['ingest']);
  });

  it('other machines are refused', async () => {
    for (const address of ['10.0.0.1', '::ffff:10.0.0.1', '2001:db8::1', undefined]) {
      await assert.rejects(() => from(address), refused);
    }
  });

  it('what a proxy on this machine forwards is not from this machine', async () => {
    await assert.rejects(() => from('127.0.0.1', { 'x-forwarded-for': '203.0.113.9' }), refused);
    await assert.rejects(() => from('127.0.0.1', { forwarded: 'for=203.0.113.9' }), refused);
  });

  it('a page whose name was pointed at this machine is refused', async () => {
    for (const host of ['evil.example:4318', '127.0.0.1.evil.example', '10.0.0.1']) {
      await assert.rejects(() => from('127.0.0.1', { host }), refused);
    }
  });

  it('nobody is let in when anonymous ingest is off', async () => {
    await assert.rejects(
      () => new Credentials(nobody, scope, 'off').resolve({ headers: {}, remoteAddress: '127.0.0.1' }),
      refused,
    );
  });
});

it('a key that is not known is refused, from this machine too', async () => {
  const credentials = new Credentials(nobody, scope, 'loopback');
  for (const headers of [{ authorization: 'Bearer x' }, { 'x-api-key': 'x' }]) {
    await assert.rejects(() => credentials.resolve({ headers, remoteAddress: '127.0.0.1' }), refused);
  }
});

it('a tenant header never widens what a credential may touch', async () => {
  const credentials = new Credentials(nobody, scope, 'loopback');
  const as = (tenant: string) =>
    credentials.resolve({ headers: { 'x-tenant-id': tenant }, remoteAddress: '127.0.0.1' });
  assert.equal((await as('t')).scope, scope);
  await assert.rejects(
    () => as('other'),
    (error) => error instanceof AppError && error.code === 'PERMISSION_DENIED',
  );
});

describe('The session cookie', () => {
  const known: Identities = {
    find: async (credential) =>
      credential === 'good'
        ? { kind: 'user', id: 'u', name: 'u', scope, permissions: new Set(['read', 'write']) }
        : undefined,
    expire: () => undefined,
  };
  const credentials = new Credentials(known, scope, 'off');
  const host = '127.0.0.1:3000';
  const withCookie = (method: string | undefined, headers = {}) =>
    credentials.resolve({
      headers: { host, cookie: 'a=b; tf_session=good; c=d', ...headers },
      remoteAddress: '127.0.0.1',
      method,
    });
  const denied = (error: unknown) => error instanceof AppError && error.code === 'PERMISSION_DENIED';

  it('is a credential for the API, and not for OTLP', async () => {
    assert.equal((await withCookie('GET')).id, 'u');
    await assert.rejects(() => withCookie(undefined), refused);
  });

  it('lets only pages of this origin change something', async () => {
    const ours = [
      { 'sec-fetch-site': 'same-origin' },
      { origin: 'http://127.0.0.1:3000' },
      { origin: 'http://127.0.0.1:3000', 'sec-fetch-site': 'same-origin' },
    ];
    const others = [
      {},
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'none' },
      // Another port of this host is the same site, and not the same origin.
      { 'sec-fetch-site': 'same-site', origin: 'http://127.0.0.1:3000' },
      { origin: 'http://127.0.0.1:8080' },
      { origin: 'http://evil.example' },
      { origin: 'null' },
    ];
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
      for (const headers of ours) assert.equal((await withCookie(method, headers)).id, 'u');
      for (const headers of others)
        await assert.rejects(() => withCookie(method, headers), denied, JSON.stringify(headers));
    }
  });

  it('is passed over when there is another credential', async () => {
    await assert.rejects(() => withCookie('GET', { authorization: 'Bearer bad' }), refused);
    assert.equal(
      (await withCookie('POST', { authorization: 'Bearer good', cookie: 'tf_session=bad' })).id,
      'u',
    );
  });

  it('that is none of ours is no credential', async () => {
    for (const cookie of ['', 'tf_session=', 'tf_session=bad', 'xtf_session=good', 'a=tf_session=good'])
      await assert.rejects(() => withCookie('GET', { cookie }), refused, cookie);
  });
});

it('loopback is 127.0.0.0/8 and ::1, nothing else', async () => {
  assert.ok(isLoopback('127.255.255.254'));
  assert.ok(!isLoopback('128.0.0.1'));
  assert.ok(!isLoopback(''));
});
