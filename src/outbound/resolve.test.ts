import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { addressesIn, systemResolve } from './resolve.js';

describe('A name', () => {
  it('has the addresses that the hosts file gives it', () => {
    const file =
      '127.0.0.1\tlocalhost here # there\n#10.0.0.1 here\n::1 localhost\n 10.1.2.3   Mail.Internal mail\n\nnonsense here\n';
    assert.deepEqual(addressesIn(file, 'localhost'), ['127.0.0.1', '::1']);
    assert.deepEqual(addressesIn(file, 'LOCALHOST.'), ['127.0.0.1', '::1']);
    assert.deepEqual(addressesIn(file, 'here'), ['127.0.0.1']);
    assert.deepEqual(addressesIn(file, 'mail.internal'), ['10.1.2.3']);
    for (const host of ['there', 'local', '127.0.0.1', 'internal', ''])
      assert.deepEqual(addressesIn(file, host), []);
    assert.deepEqual(addressesIn('', 'localhost'), []);
  });

  it('of this machine is known without asking anybody', async () => {
    assert.ok((await systemResolve('localhost')).length > 0);
  });
});
