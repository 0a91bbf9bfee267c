import type { IncomingHttpHeaders } from 'node:http';
import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net';

/** Injection token of the `BlockList` of proxies whose X-Forwarded-For is believed (TRUST_PROXY). */
export const TRUSTED_PROXIES = Symbol('TRUSTED_PROXIES');

/** `10.0.0.0/8`, `10.0.0.1`, `fd00::/8` as a list that addresses can be looked up in; undefined when it is empty. */
export function networkList(networks: readonly string[]): BlockList | undefined {
  if (networks.length === 0) return undefined;
  const list = new BlockList();
  for (const network of networks) {
    const [address, bits] = network.split('/');
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  return list;
}

/** Whether another machine, or a proxy on this one, sent it on. */
export function isForwarded(headers: IncomingHttpHeaders): boolean {
  return headers['x-forwarded-for'] !== undefined || headers.forwarded !== undefined;
}

/**
 * Whose request it is: the peer, or, when that is a trusted proxy, the right-most address of X-Forwarded-For that is not one.
 * What stands left of that was written by nobody we trust. Without such an address it is the last proxy that is known.
 *
 * @param peer as the socket reports it; mapped addresses (`::ffff:10.0.0.1`) are given back as IPv4
 * @param trusted undefined: nobody is believed
 */
export function remoteAddress(
  peer: string | undefined,
  forwardedFor: string | string[] | undefined,
  trusted: BlockList | undefined,
): string | undefined {
  let address = peer === undefined ? undefined : unmapped(peer);
  if (trusted === undefined || forwardedFor === undefined) return address;
  const hops = String(forwardedFor).split(',');
  while (address !== undefined && isListed(trusted, address)) {
    const hop = hops.pop();
    const before = hop === undefined ? undefined : addressOf(hop.trim());
    if (before === undefined) return address;
    address = before;
  }
  return address;
}

/** `remoteAddress` of a request as Node and Fastify have it. */
export function senderOf(
  request: { socket: { remoteAddress?: string }; headers: IncomingHttpHeaders },
  trusted: BlockList | undefined,
): string | undefined {
  return remoteAddress(request.socket.remoteAddress, request.headers['x-forwarded-for'], trusted);
}

/** Whether an address, as a socket reports it, is in the list. */
export function isListed(list: BlockList | undefined, address: string | undefined): boolean {
  if (list === undefined || address === undefined) return false;
  return list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}

function unmapped(address: string): string {
  const rest = address.slice(7);
  return /^::ffff:/i.test(address) && isIPv4(rest) ? rest : address;
}

/** Some proxies add the port: `203.0.113.7:4711`, `[2001:db8::1]:4711`. */
function addressOf(hop: string): string | undefined {
  const address = hop.replace(/^\[(.*)\](:\d+)?$/, '$1').replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1');
  return isIP(address) === 0 ? undefined : unmapped(address);
}

/**
 * What one caller is limited by: an IPv4 address, or the network of 64 bits that an IPv6 address is in, since any machine
 * has as many addresses of its own /64 as it wants.
 */
export function limitedNetwork(given: string): string {
  const address = unmapped(given);
  if (!address.includes(':')) return address;
  const [head, tail] = address.split('%', 1)[0].split('::');
  const groups = (text: string | undefined) => (text ? text.split(':') : []);
  // An IPv4 address at the end stands for two groups.
  const count = (parts: string[]) => parts.length + (parts.at(-1)?.includes('.') ? 1 : 0);
  const [left, right] = [groups(head), groups(tail)];
  const zeros = Array<string>(Math.max(0, 8 - count(left) - count(right))).fill('0');
  const first = [...left, ...zeros, ...right].slice(0, 4);
  return `${first.map((group) => Number.parseInt(group, 16).toString(16)).join(':')}::/64`;
}
