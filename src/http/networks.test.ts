import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { networkOf, networkTest } from './networks.js';

describe('Networks', () => {
  it('hold what lies in them, mapped addresses too, and nothing else', () => {
    const isIn = networkTest(['10.0.0.0/8', '192.0.2.7', 'fd00::/8', '2001:db8::1']);
    for (const address of ['10.1.2.3', '::ffff:10.1.2.3', '192.0.2.7', 'fdab::1', '2001:db8::1'])
      assert.ok(isIn(address), address);
    for (const address of ['11.0.0.1', '192.0.2.8', 'fe80::1', '2001:db8::2', '', 'x', undefined])
      assert.ok(!isIn(address), address);
    assert.ok(!networkTest([])('127.0.0.1'));
  });

  it('an IPv4 address counts as itself, however it is written; an IPv6 one as its /64', () => {
    assert.equal(networkOf('192.0.2.1'), '192.0.2.1');
    assert.equal(networkOf('::ffff:192.0.2.1'), '192.0.2.1');
    assert.equal(networkOf('2001:db8:0:7::1'), networkOf('2001:db8:0:7:ffff:1:2:3'));
    assert.notEqual(networkOf('2001:db8:0:7::1'), networkOf('2001:db8:0:8::1'));
    assert.equal(networkOf('fe80::1%eth0'), networkOf('fe80::2%eth1'));
    assert.equal(networkOf('::1'), '0:0:0:0');
  });
});
