import type { IncomingHttpHeaders } from 'node:http';
import { BlockList, isIP, isIPv6 } from 'node:net';
import { AppError } from '../errors.js';
import type { Identities, MaybeNow, Principal } from './principal.js';
import { isForwarded } from './remote-address.js';
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
  /** As `remoteAddress()` in remote-address.ts finds it. */
  readonly remoteAddress: string | undefined;
  /** Set on the API alone: there a browser's cookie is a credential too, and the method says whether something may change. */
  readonly method?: string;
}

/** The cookie that holds a login's access token. */
export const SESSION_COOKIE = 'tf_session';

/** The one place that turns a request into a principal. */
export class Credentials {
  private readonly anonymousPrincipal: Principal;

  constructor(
    private readonly identities: Identities,
    defaultScope: Scope,
    private readonly anonymous: 'off' | 'loopback',
  ) {
    this.anonymousPrincipal = {
      kind: 'anonymous',
      id: 'anonymous',
      name: 'anonymous',
      scope: defaultScope,
      permissions: new Set(['ingest']),
    };
  }

  /**
   * Who acts in a request, and for which tenant; not a promise where that is known at once.
   *
   * @throws AppError UNAUTHENTICATED when the credential is missing, unknown, or not allowed from there;
   *   PERMISSION_DENIED when `X-Tenant-ID` names a tenant that the credential does not reach, or another site's page uses
   *   the cookie
   */
  identify(caller: Caller): MaybeNow<Principal> {
    const wanted = caller.headers['x-tenant-id'];
    const tenantId = typeof wanted === 'string' ? wanted : undefined;
    const credential = credentialOf(caller.headers) ?? cookieOf(caller);
    if (credential === undefined) return this.checked(this.withoutCredential(caller), tenantId);
    const found = this.identities.find(credential, tenantId);
    if (found instanceof Promise) return found.then((principal) => this.checked(principal, tenantId));
    return this.checked(found, tenantId);
  }

  /** The same as a promise. @throws AppError as `identify` does */
  async resolve(caller: Caller): Promise<Principal> {
    return this.identify(caller);
  }

  private checked(principal: Principal | undefined, tenantId: string | undefined): Principal {
    if (!principal) {
      throw new AppError(
        'UNAUTHENTICATED',
        'This credential is not known here, has expired, or was revoked.',
      );
    }
    if (tenantId === undefined || tenantId === principal.scope.tenantId) return principal;
    throw new AppError(
      'PERMISSION_DENIED',
      'X-Tenant-ID is not a tenant of this credential; a header does not widen what it may touch.',
    );
  }

  private withoutCredential(caller: Caller): Principal {
    if (this.anonymous === 'loopback' && isDirectFromLoopback(caller)) return this.anonymousPrincipal;
    throw new AppError(
      'UNAUTHENTICATED',
      this.anonymous === 'off'
        ? 'A key is required: INGEST_ANONYMOUS is off.'
        : 'A key is required from other machines; without one only requests from loopback are taken.',
    );
  }
}

/** `X-API-Key: <key>` or `Authorization: Bearer <key or login token>`; undefined when neither is there. */
function credentialOf(headers: IncomingHttpHeaders): string | undefined {
  const key = headers['x-api-key'];
  if (key !== undefined) return String(key);
  const { authorization } = headers;
  if (authorization === undefined) return undefined;
  // Any other scheme is a credential too, only one that nobody knows.
  return /^bearer +(\S+) *$/i.exec(authorization)?.[1] ?? '';
}

/**
 * The access token in the session cookie, of a request to the API. The browser sends it along whoever's page asks, from
 * another port of the same host too, so what may change something must come from a page of this very origin.
 */
function cookieOf({ headers, method }: Caller): string | undefined {
  if (method === undefined || headers.cookie === undefined) return undefined;
  const [, token] = COOKIE.exec(headers.cookie) ?? [];
  if (token === undefined || READING.has(method) || isSameOrigin(headers)) return token;
  throw new AppError(
    'PERMISSION_DENIED',
    'With the session cookie only pages of this server may change something; send an Authorization header instead.',
  );
}

const COOKIE = new RegExp(`(?:^|; *)${SESSION_COOKIE}=([^;]*)`);
const READING = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Browsers say where a request comes from, in headers that no page can set; without them it is not known to be ours. */
function isSameOrigin(headers: IncomingHttpHeaders): boolean {
  const site = headers['sec-fetch-site'];
  if (site !== undefined) return site === 'same-origin';
  const { origin, host } = headers;
  return origin !== undefined && URL.canParse(origin) && new URL(origin).host === host;
}

/**
 * A proxy on this machine speaks for others, so what it forwards is not from here. And a web page can point a name of
 * its own at 127.0.0.1 (DNS rebinding), so the name that was asked for must be this machine's too.
 */
function isDirectFromLoopback({ headers, remoteAddress }: Caller): boolean {
  return isLoopback(remoteAddress) && !isForwarded(headers) && namesThisMachine(headers.host);
}

function namesThisMachine(host: string | undefined): boolean {
  if (host === undefined) return true;
  const name = host
    .replace(/:\d+$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase();
  return name === 'localhost' || name.endsWith('.localhost') || (isIP(name) !== 0 && isLoopback(name));
}
