import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** Of IPv6 only this is routed on the internet; what is outside is refused whatever it is called. */
const GLOBAL_UNICAST: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('2000::'), 3];
/** Of the internet by its number, and yet of the host of a virtual machine on Azure: what asks there is taken for the machine itself. */
const AZURE_HOST = '168.63.129.16';
/** Ports that the web and mail are served at; above them anything may be. */
const PUBLIC_PORTS = new Set([25, 80, 443, 465, 587]);
const FIRST_FREE_PORT = 1024;

/** Which addresses what tenants have set up may reach: the internet, and the networks that the setting names. */
export class AddressRules {
  private readonly allowed: [Address, number][];

  /** @param networks addresses or networks such as 10.0.0.0/8, as NOTIFY_ALLOW_NETWORKS has them */
  constructor(networks: readonly string[]) {
    this.allowed = networks.map((network) => {
      const [address, bits] = network.split('/');
      const parsed = ipaddr.parse(address);
      return [parsed, bits === undefined ? parsed.toByteArray().length * 8 : Number(bits)];
    });
  }

  /** Whether a setting opens this address, which then may have any port, and need not be encrypted. */
  isInside(address: string): boolean {
    const parsed = parse(address);
    return (
      parsed !== undefined &&
      this.allowed.some(([network, bits]) => network.kind() === parsed.kind() && parsed.match(network, bits))
    );
  }

  /** Whether this address, as it is connected to, may be. Private, local, reserved, mapped and tunnelled ones may not. */
  allows(address: string, port: number): boolean {
    if (this.isInside(address)) return true;
    const parsed = parse(address);
    if (!parsed || !(PUBLIC_PORTS.has(port) || port >= FIRST_FREE_PORT)) return false;
    if (parsed.range() !== 'unicast' || parsed.toString() === AZURE_HOST) return false;
    return parsed.kind() === 'ipv4' || (parsed as ipaddr.IPv6).match(GLOBAL_UNICAST);
  }
}

/** Undefined for all that is not the plain text of an address: a socket would not take it as it is either. */
function parse(address: string): Address | undefined {
  // A zone names an interface of this machine.
  if (isIP(address) === 0 || address.includes('%')) return undefined;
  return ipaddr.process(address);
}

/**
 * A host as the URL standard reads it: 0x7f.1, 2130706433 and １２７.0.0.1 are all 127.0.0.1.
 *
 * @returns the address or name in its plain form, without brackets; undefined when it is no host
 */
export function plainHost(host: string): string | undefined {
  const text = isIP(host) === 6 ? `[${host}]` : host;
  // Nothing that a URL has beside its host.
  if (!/^(\[[^[\]]*\]|[^:/?#@\\\s[\]]+)$/.test(text) || !URL.canParse(`http://${text}/`)) return undefined;
  return withoutBrackets(new URL(`http://${text}/`).hostname);
}

export const withoutBrackets = (hostname: string) => hostname.replace(/^\[(.*)\]$/, '$1');
