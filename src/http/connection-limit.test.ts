import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { describe, it } from 'node:test';
import { ConnectionLimit } from './connection-limit.js';

/** A connection as far as it is counted: no machine of a test has foreign addresses. */
class Connection extends EventEmitter {
  isClosed = false;
  constructor(readonly remoteAddress: string | undefined) {
    super();
  }
  destroy(): void {
    this.isClosed = true;
    this.emit('close');
  }
}

const caps = { total: 10, perAddress: 3, trusted: ['10.0.0.0/8'] };

function admit(limit: ConnectionLimit, address: string | undefined): Connection {
  const connection = new Connection(address);
  assert.equal(limit.admit(connection as unknown as Socket), !connection.isClosed);
  return connection;
}

describe('The limit of connections', () => {
  it('holds for an address, of IPv6 for a /64, and takes new ones when old ones close', () => {
    const limit = new ConnectionLimit(caps);
    const open = ['2001:db8::1', '2001:db8::2', '2001:db8::3'].map((address) => admit(limit, address));
    assert.ok(open.every(({ isClosed }) => !isClosed));
    assert.ok(admit(limit, '2001:db8::4').isClosed);
    assert.ok(!admit(limit, '192.0.2.1').isClosed, 'another address is not held up');
    open[0].destroy();
    assert.ok(!admit(limit, '2001:db8::4').isClosed);
    assert.ok(admit(limit, '2001:db8::5').isClosed);
  });

  it('counts this machine and proxies in the total alone', () => {
    for (const address of ['127.0.0.1', '::1', '10.1.1.1', undefined]) {
      const limit = new ConnectionLimit(caps);
      const open = Array.from({ length: 10 }, () => admit(limit, address));
      assert.ok(
        open.every(({ isClosed }) => !isClosed),
        address,
      );
      assert.ok(admit(limit, address).isClosed, 'the total');
      open[3].destroy();
      assert.ok(!admit(limit, '192.0.2.1').isClosed);
      assert.ok(admit(limit, '192.0.2.2').isClosed);
    }
  });

  it('never takes more than half of the files that may be open', () => {
    const limit = new ConnectionLimit({ ...caps, total: 1000 }, 8);
    const open = Array.from({ length: 5 }, () => admit(limit, '127.0.0.1'));
    assert.deepEqual(
      open.map(({ isClosed }) => isClosed),
      [false, false, false, false, true],
    );
  });
});
