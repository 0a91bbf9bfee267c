import { BlockList, isIPv4, isIPv6 } from 'node:net';

/**
 * A test whether an address, as a socket reports it, lies in one of the networks.
 *
 * @param networks addresses or networks, as the settings have checked them: `10.0.0.1`, `10.0.0.0/8`, `fd00::/8`
 */
export function networkTest(networks: readonly string[]): (address: string | undefined) => boolean {
  const list = new BlockList();
  for (const network of networks) {
    const [address, bits] = network.split('/');
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  return (address) => address !== undefined && list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}

/**
 * What connections are counted by: an IPv4 address, also one mapped into IPv6; of IPv6 the /64, which is what one customer of
 * a provider has at least, so that its 2^64 addresses count as one.
 */
export function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (isIPv4(address)) return address;
  const [left, right] = address.split('%', 1)[0].split('::');
  const head = left === '' ? [] : left.split(':');
  const tail = right ? right.split(':') : [];
  const zeros = right === undefined ? 0 : 8 - head.length - tail.length;
  const groups = [...head, ...Array<string>(Math.max(0, zeros)).fill('0'), ...tail];
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':');
}
