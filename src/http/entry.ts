import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BlockList } from 'node:net';
import { isListed, networkList } from '../edge/remote-address.js';

/** More than any client sends; each costs time in every place that looks at them. */
const MAX_HEADERS = 100;

/** For answers that are data: a browser that is led to one does nothing with it. Pages replace the policy by theirs. */
export const SECURITY_HEADERS = {
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'x-frame-options': 'DENY',
};
const HSTS = 'max-age=31536000; includeSubDomains';

const CORS_METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE';
const CORS_HEADERS =
  'content-type, content-encoding, authorization, x-api-key, x-tenant-id, x-correlation-id';
const CORS_EXPOSED =
  'X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After, X-Correlation-Id';
const PREFLIGHT_SECONDS = 600;

export interface EntrySettings {
  /** Proxies whose `X-Forwarded-Proto` is believed. */
  trustedProxies: readonly string[];
  /** Web origins that browsers may call from; none: CORS is off. */
  corsOrigins: readonly string[];
}

/** What every request of every HTTP port passes first, whoever answers it then. */
export class Entry {
  private readonly proxies: BlockList | undefined;
  private readonly origins: ReadonlySet<string>;

  constructor({ trustedProxies, corsOrigins }: EntrySettings) {
    this.proxies = networkList(trustedProxies);
    this.origins = new Set(corsOrigins);
  }

  /**
   * Gives the request its correlation id (its header `x-correlation-id` is that id from here on) and the answer the headers
   * that all answers have.
   *
   * @returns true when it has answered itself: preflights, and requests with too many headers
   */
  answers(request: IncomingMessage, response: ServerResponse): boolean {
    const id = correlationIdOf(request.headers['x-correlation-id']);
    request.headers['x-correlation-id'] = id;
    response.setHeader('x-correlation-id', id);
    for (const name in SECURITY_HEADERS)
      response.setHeader(name, SECURITY_HEADERS[name as keyof typeof SECURITY_HEADERS]);
    if (this.cameOverTls(request)) response.setHeader('strict-transport-security', HSTS);
    if (request.rawHeaders.length > MAX_HEADERS * 2) {
      refuseHeaders(response);
      return true;
    }
    return this.origins.size > 0 && this.answersPreflight(request, response);
  }

  /** The word of the proxy that the connection came from, and of no one before it. */
  private cameOverTls({ headers, socket }: IncomingMessage): boolean {
    const forwarded = headers['x-forwarded-proto'];
    if (typeof forwarded !== 'string' || !isListed(this.proxies, socket.remoteAddress)) return false;
    return forwarded.split(',').at(-1)!.trim().toLowerCase() === 'https';
  }

  private answersPreflight(request: IncomingMessage, response: ServerResponse): boolean {
    // Also when this answer allows nothing: a cache must not give it to a page of another origin.
    response.setHeader('vary', 'Origin');
    const { origin } = request.headers;
    if (origin === undefined || !this.origins.has(origin)) return false;
    response.setHeader('access-control-allow-origin', origin);
    response.setHeader('cross-origin-resource-policy', 'cross-origin');
    if (request.method !== 'OPTIONS' || !request.headers['access-control-request-method']) {
      response.setHeader('access-control-expose-headers', CORS_EXPOSED);
      return false;
    }
    response.writeHead(204, {
      'access-control-allow-methods': CORS_METHODS,
      'access-control-allow-headers': CORS_HEADERS,
      'access-control-max-age': String(PREFLIGHT_SECONDS),
    });
    response.end();
    return true;
  }
}

/** The id as the client gave it, or a new one where it gave none, or one that could break a header or a log line. */
export function correlationIdOf(given: string | string[] | undefined): string {
  return typeof given === 'string' && /^[A-Za-z0-9._:-]{1,128}$/.test(given) ? given : randomUUID();
}

function refuseHeaders(response: ServerResponse): void {
  const body = JSON.stringify({ code: 3, message: `A request has ${MAX_HEADERS} headers at most.` });
  response.writeHead(431, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    connection: 'close',
  });
  response.end(body);
}
