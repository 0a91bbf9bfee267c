import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { limitedNetwork, networkList, remoteAddress } from './remote-address.js';

describe('The address of a request', () => {
  const trusted = networkList(['10.0.0.0/8', '127.0.0.1', 'fd00::/8']);

  it('is the peer’s when nobody is trusted, whatever the header says', () => {
    assert.equal(remoteAddress('198.51.100.1', '203.0.113.9', undefined), '198.51.100.1');
    assert.equal(networkList([]), undefined);
  });

  it('is the peer’s when that is not a trusted proxy', () => {
    assert.equal(remoteAddress('198.51.100.1', '203.0.113.9', trusted), '198.51.100.1');
  });

  it('is the right-most that is not a trusted proxy: what stands left of it can be forged', () => {
    assert.equal(remoteAddress('127.0.0.1', '6.6.6.6, 203.0.113.9, 10.1.2.3', trusted), '203.0.113.9');
    assert.equal(remoteAddress('127.0.0.1', '10.9.9.9, 203.0.113.9', trusted), '203.0.113.9');
    assert.equal(remoteAddress('fd00::1', ['6.6.6.6', '2001:db8::7'], trusted), '2001:db8::7');
  });

  it('is the first proxy’s when all are trusted', () => {
    assert.equal(remoteAddress('127.0.0.1', '10.0.0.7, 10.0.0.8', trusted), '10.0.0.7');
    assert.equal(remoteAddress('127.0.0.1', undefined, trusted), '127.0.0.1');
  });

  it('is the last proxy’s when that says nothing that can be read', () => {
    for (const text of ['', 'unknown', '203.0.113.9, unknown', '203.0.113.9,', '1.2.3'])
      assert.equal(remoteAddress('10.0.0.1', text, trusted), '10.0.0.1');
  });

  it('is read with a port, in brackets, and mapped', () => {
    assert.equal(remoteAddress('::ffff:10.0.0.1', '203.0.113.9:4711', trusted), '203.0.113.9');
    assert.equal(remoteAddress('::ffff:10.0.0.1', '[2001:db8::1]:4711', trusted), '2001:db8::1');
    assert.equal(remoteAddress('::ffff:10.0.0.1', '::ffff:203.0.113.9', trusted), '203.0.113.9');
    assert.equal(remoteAddress('::ffff:198.51.100.1', undefined, undefined), '198.51.100.1');
    assert.equal(remoteAddress(undefined, '203.0.113.9', trusted), undefined);
  });
});

describe('What an address is limited by', () => {
  it('is the address itself for IPv4', () => {
    assert.equal(limitedNetwork('203.0.113.9'), '203.0.113.9');
  });

  it('is its network of 64 bits for IPv6, however it is written', () => {
    const networks: [string, string][] = [
      ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
      ['2001:DB8:1:2::6', '2001:db8:1:2::/64'],
      ['2001:0db8:0001:0002::', '2001:db8:1:2::/64'],
      ['2001:db8::6', '2001:db8:0:0::/64'],
      ['::1', '0:0:0:0::/64'],
      ['fe80::1%eth0', 'fe80:0:0:0::/64'],
      ['64:ff9b:1:2:3:4:192.0.2.1', '64:ff9b:1:2::/64'],
      ['64:ff9b::192.0.2.1', '64:ff9b:0:0::/64'],
    ];
    for (const [address, network] of networks) assert.equal(limitedNetwork(address), network);
  });
});
