import type { BlockList } from 'node:net';
import { type CanActivate, type ExecutionContext, Inject, Injectable, SetMetadata } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Credentials } from './credentials.js';
import type { ScopedRequest } from './current-scope.js';
import type { LimitProfile } from './principal.js';
import { assertAllowed, RateLimiter, rateLimitHeaders } from './rate-limiter.js';
import { senderOf, TRUSTED_PROXIES } from './remote-address.js';
import { identify, isPublic } from './scope.guard.js';

const LIMITED_BY = 'telemetryflow:limited-by';

/** Which bucket the requests of a route draw on, where it is not `default`. */
export const LimitedBy = (profile: LimitProfile) => SetMetadata(LIMITED_BY, profile);

/**
 * Limits every route of the API. Goes before the scope guard, so that what that refuses is counted too: with the address of the
 * sender where the credential is not known, so that guessing is limited. A credential that is known is let through from
 * a network whose address is used up by others, since one wrong client must not shut out all behind the same proxy.
 */
@Injectable()
export class RateLimitGuard implements CanActivate {
  constructor(
    @Inject(RateLimiter) private readonly limiter: RateLimiter,
    @Inject(Credentials) private readonly credentials: Credentials,
    @Inject(TRUSTED_PROXIES) private readonly proxies: BlockList | undefined,
    @Inject(Reflector) private readonly reflector: Reflector,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const http = context.switchToHttp();
    const request = http.getRequest<FastifyRequest & ScopedRequest>();
    if (!request.routeOptions.url?.startsWith('/api/v1/')) return true;
    const places = [context.getHandler(), context.getClass()];
    const profile = this.reflector.getAllAndOverride<LimitProfile>(LIMITED_BY, places) ?? 'default';
    const principal = isPublic(this.reflector, context)
      ? undefined
      : await identify(request, this.credentials, this.proxies).catch(() => undefined);
    const verdict = await this.limiter.take(profile, principal, senderOf(request, this.proxies));
    if (!verdict) return true;
    const reply = http.getResponse<FastifyReply>();
    for (const [name, value] of rateLimitHeaders(verdict)) reply.header(name, value);
    assertAllowed(verdict);
    return true;
  }
}
