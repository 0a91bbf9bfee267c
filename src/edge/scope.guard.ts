import { type CanActivate, type ExecutionContext, Inject, Injectable, SetMetadata } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import { Credentials } from './credentials.js';
import type { ScopedRequest } from './current-scope.js';

const PUBLIC = 'telemetryflow:public';

/** Marks a route that shows nothing of any tenant and so needs no credential: health, metrics. */
export const Public = () => SetMetadata(PUBLIC, true);

/** Guards every route: it has a scope, or it is marked public. */
@Injectable()
export class ScopeGuard implements CanActivate {
  constructor(
    @Inject(Credentials) private readonly credentials: Credentials,
    @Inject(Reflector) private readonly reflector: Reflector,
  ) {}

  canActivate(context: ExecutionContext): boolean {
    if (this.reflector.getAllAndOverride<boolean>(PUBLIC, [context.getHandler(), context.getClass()]))
      return true;
    const request = context.switchToHttp().getRequest<FastifyRequest & ScopedRequest>();
    request.scope = this.credentials.resolve({
      headers: request.headers,
      remoteAddress: request.socket.remoteAddress,
    });
    return true;
  }
}
