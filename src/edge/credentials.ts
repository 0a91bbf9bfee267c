import type { IncomingHttpHeaders } from 'node:http';
import { BlockList, isIP, isIPv6 } from 'node:net';
import { AppError } from '../errors.js';
import type { Scope } from './scope.js';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Whether an address, as a socket reports it, is this machine's own. Mapped addresses (::ffff:127.0.0.1) count. */
export function isLoopback(address: string | undefined): boolean {
  if (!address) return false;
  return loopback.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}

/** What a request says about who sends it. */
export interface Caller {
  readonly headers: IncomingHttpHeaders;
  readonly remoteAddress: string | undefined;
}

/**
 * The one place that turns a request into a scope.
 *
 * There are no keys yet, so whoever presents one is refused, and whoever presents none is served only from this
 * machine and only in the default tenant.
 */
export class Credentials {
  constructor(
    private readonly defaultScope: Scope,
    private readonly anonymous: 'off' | 'loopback',
  ) {}

  /**
   * The scope of a request.
   *
   * @throws AppError UNAUTHENTICATED when the credential is missing, unknown, or not allowed from there;
   *   PERMISSION_DENIED when `X-Tenant-ID` names a tenant that the credential does not reach
   */
  resolve(caller: Caller): Scope {
    const scope = this.identify(caller);
    const wanted = caller.headers['x-tenant-id'];
    if (wanted === undefined || wanted === scope.tenantId) return scope;
    throw new AppError(
      'PERMISSION_DENIED',
      `X-Tenant-ID ${wanted} is not a tenant of this credential; a header does not widen what it may touch.`,
    );
  }

  private identify(caller: Caller): Scope {
    if (caller.headers.authorization !== undefined || caller.headers['x-api-key'] !== undefined) {
      throw new AppError(
        'UNAUTHENTICATED',
        'This key is not known here. Leave it out to send from this machine.',
      );
    }
    if (this.anonymous === 'loopback' && isDirectFromLoopback(caller)) return this.defaultScope;
    throw new AppError(
      'UNAUTHENTICATED',
      this.anonymous === 'off'
        ? 'A key is required: INGEST_ANONYMOUS is off.'
        : 'A key is required from other machines; without one only requests from loopback are taken.',
    );
  }
}

/**
 * A proxy on this machine speaks for others, so what it forwards is not from here. And a web page can point a name of
 * its own at 127.0.0.1 (DNS rebinding), so the name that was asked for must be this machine's too.
 */
function isDirectFromLoopback({ headers, remoteAddress }: Caller): boolean {
  const forwarded = headers['x-forwarded-for'] !== undefined || headers.forwarded !== undefined;
  return isLoopback(remoteAddress) && !forwarded && namesThisMachine(headers.host);
}

function namesThisMachine(host: string | undefined): boolean {
  if (host === undefined) return true;
  const name = host
    .replace(/:\d+$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase();
  return name === 'localhost' || name.endsWith('.localhost') || (isIP(name) !== 0 && isLoopback(name));
}
