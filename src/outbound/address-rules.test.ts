import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AddressRules, plainHost } from './address-rules.js';

/** Addresses that lead inside, or nowhere, in every range that has a name. */
const INSIDE = [
  '0.0.0.0',
  '0.1.2.3',
  '10.0.0.1',
  '10.255.255.255',
  '100.64.0.1',
  '100.127.255.255',
  '127.0.0.1',
  '127.255.255.254',
  '169.254.169.254',
  '169.254.170.2',
  '172.16.0.1',
  '168.63.129.16',
  '::ffff:168.63.129.16',
  '172.31.255.255',
  '192.0.0.192',
  '192.0.2.1',
  '192.88.99.1',
  '192.168.0.1',
  '198.18.0.1',
  '198.19.255.255',
  '198.51.100.1',
  '203.0.113.1',
  '224.0.0.1',
  '239.255.255.255',
  '240.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  '::7f00:1',
  '::127.0.0.1',
  '::ffff:127.0.0.1',
  '::ffff:10.0.0.1',
  '::ffff:a9fe:a9fe',
  '0:0:0:0:0:ffff:7f00:0001',
  '::ffff:0:127.0.0.1',
  '64:ff9b::7f00:1',
  '64:ff9b::169.254.169.254',
  '64:ff9b:1::10.0.0.1',
  '100::1',
  '2001::1',
  '2001:0:7f00:1::',
  '2001:db8::1',
  '2002:7f00:1::',
  '2002:a9fe:a9fe::1',
  '3fff::1',
  '5f00::1',
  'fc00::1',
  'fd00:ec2::254',
  'fe80::1',
  'fec0::1',
  'ff02::1',
  'ff05::2',
];
const OUTSIDE = [
  '1.1.1.1',
  '8.8.8.8',
  '9.255.255.255',
  '11.0.0.0',
  '100.63.255.255',
  '100.128.0.0',
  '126.255.255.255',
  '128.0.0.1',
  '169.253.255.255',
  '172.15.255.255',
  '172.32.0.0',
  '192.167.255.255',
  '192.169.0.0',
  '198.17.255.255',
  '198.20.0.0',
  '223.255.255.255',
  '2606:4700::1111',
  '2a00:1450:4001::1',
];

describe('Addresses', () => {
  const rules = new AddressRules([]);

  it('on the internet may be reached, and no others', () => {
    for (const address of OUTSIDE) assert.ok(rules.allows(address, 443), address);
    for (const address of INSIDE) assert.ok(!rules.allows(address, 443), address);
  });

  it('mapped into IPv6 are what they are mapped from', () => {
    assert.ok(rules.allows('::ffff:8.8.8.8', 443));
    assert.ok(new AddressRules(['10.0.0.0/8']).allows('::ffff:10.1.2.3', 443));
  });

  it('with a zone, in a short form, or that are none are refused', () => {
    const inside = new AddressRules(['0.0.0.0/0', '::/0']);
    for (const text of [
      'fe80::1%eth0',
      '2606:4700::1111%1',
      '0x7f.1',
      '127.1',
      '2130706433',
      '017700000001',
      '',
      'localhost',
      '1.1.1.1 ',
      '[::1]',
    ])
      assert.ok(!inside.allows(text, 443), text);
  });

  it('have, on the internet, the ports of web and mail or high ones', () => {
    for (const port of [25, 80, 443, 465, 587, 1024, 8443, 65_535])
      assert.ok(rules.allows('1.1.1.1', port), String(port));
    for (const port of [1, 22, 23, 53, 110, 111, 135, 139, 389, 445, 636, 873, 1023])
      assert.ok(!rules.allows('1.1.1.1', port), String(port));
  });

  it('of networks in the setting may be reached, at any port', () => {
    const some = new AddressRules(['10.1.0.0/16', '127.0.0.1', 'fd00::/8']);
    for (const address of ['10.1.0.0', '10.1.255.255', '127.0.0.1', 'fd12::1']) {
      assert.ok(some.allows(address, 22), address);
      assert.ok(some.isInside(address), address);
    }
    for (const address of ['10.0.255.255', '10.2.0.0', '127.0.0.2', 'fc00::1', '::1', '169.254.169.254'])
      assert.ok(!some.allows(address, 443), address);
    assert.ok(!some.isInside('1.1.1.1'));
  });
});

describe('A host', () => {
  it('written in an odd way is the address that it is', () => {
    const forms = {
      '127.0.0.1': [
        '127.0.0.1',
        '0x7f.1',
        '0x7f.0.0.1',
        '0X7F000001',
        '2130706433',
        '017700000001',
        '127.1',
        '127.0.1',
        '0177.0.0.1',
        '１２７.0.0.1',
        '127。0。0。1',
        '127.0.0.1.',
      ],
      '169.254.169.254': [
        '169.254.169.254',
        '0xa9fea9fe',
        '2852039166',
        '0251.0376.0251.0376',
        '169.254.43518',
      ],
      '::1': ['::1', '[::1]', '[0:0:0:0:0:0:0:1]', '[::0.0.0.1]', '0:0::1'],
      '::ffff:7f00:1': ['[::ffff:127.0.0.1]', '::ffff:127.0.0.1'],
      'example.com': ['example.com', 'EXAMPLE.com', 'ｅxample.com'],
    };
    for (const [plain, written] of Object.entries(forms))
      for (const host of written) assert.equal(plainHost(host), plain, host);
  });

  it('that is none, or more than a host, is none', () => {
    for (const host of [
      '',
      ' ',
      'a b',
      'a/b',
      'user@host',
      'host:80',
      '[::1]:80',
      '[::1',
      '::1]',
      '[fe80::1%25eth0]',
      'fe80::1%eth0',
      '256.256.256.256',
      '0x1ffffffff',
      'host?x',
      'host#x',
      'a\\b',
      'a\nb',
      'a%0ab',
      '[]',
      'a<b',
      'a^b',
    ])
      assert.equal(plainHost(host), undefined, host);
  });
});
