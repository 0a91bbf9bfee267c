import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AppError } from '../errors.js';
import { Credentials, isLoopback } from './credentials.js';

const scope = { organizationId: 'o', workspaceId: 'w', tenantId: 't' };
const refused = (error: unknown) => error instanceof AppError && error.code === 'UNAUTHENTICATED';

describe('Without a key', () => {
  const credentials = new Credentials(scope, 'loopback');
  const from = (remoteAddress: string | undefined, headers = {}) =>
    credentials.resolve({ headers, remoteAddress });

  it('this machine acts for the default tenant', () => {
    for (const address of ['127.0.0.1', '127.8.9.1', '::1', '::ffff:127.0.0.1'])
      assert.equal(from(address), scope);
    for (const host of ['localhost:4318', '127.0.0.1', '[::1]:3000', 'api.localhost']) {
      assert.equal(from('127.0.0.1', { host }), scope);
    }
  });

  it('other machines are refused', () => {
    for (const address of ['10.0.0.1', '::ffff:10.0.0.1', '2001:db8::1', undefined]) {
      assert.throws(() => from(address), refused);
    }
  });

  it('what a proxy on this machine forwards is not from this machine', () => {
    assert.throws(() => from('127.0.0.1', { 'x-forwarded-for': '203.0.113.9' }), refused);
    assert.throws(() => from('127.0.0.1', { forwarded: 'for=203.0.113.9' }), refused);
  });

  it('a page whose name was pointed at this machine is refused', () => {
    for (const host of ['evil.example:4318', '127.0.0.1.evil.example', '10.0.0.1']) {
      assert.throws(() => from('127.0.0.1', { host }), refused);
    }
  });

  it('nobody is let in when anonymous ingest is off', () => {
    assert.throws(
      () => new Credentials(scope, 'off').resolve({ headers: {}, remoteAddress: '127.0.0.1' }),
      refused,
    );
  });
});

it('a key that is not known is refused, from this machine too', () => {
  const credentials = new Credentials(scope, 'loopback');
  for (const headers of [{ authorization: 'Bearer x' }, { 'x-api-key': 'x' }]) {
    assert.throws(() => credentials.resolve({ headers, remoteAddress: '127.0.0.1' }), refused);
  }
});

it('a tenant header never widens what a credential may touch', () => {
  const credentials = new Credentials(scope, 'loopback');
  const as = (tenant: string) =>
    credentials.resolve({ headers: { 'x-tenant-id': tenant }, remoteAddress: '127.0.0.1' });
  assert.equal(as('t'), scope);
  assert.throws(
    () => as('other'),
    (error) => error instanceof AppError && error.code === 'PERMISSION_DENIED',
  );
});

it('loopback is 127.0.0.0/8 and ::1, nothing else', () => {
  assert.ok(isLoopback('127.255.255.254'));
  assert.ok(!isLoopback('128.0.0.1'));
  assert.ok(!isLoopback(''));
});
