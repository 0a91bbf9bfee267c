import { type CanActivate, type ExecutionContext, Inject, Injectable, SetMetadata } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import { AppError } from '../errors.js';
import { Credentials } from './credentials.js';
import type { ScopedRequest } from './current-scope.js';
import type { Permission } from './principal.js';

/** Metadata keys of the two decorators below, for whoever describes the routes. */
export const PUBLIC = 'telemetryflow:public';
export const REQUIRES = 'telemetryflow:requires';

/** Marks a route that shows nothing of any tenant and so needs no credential: health, metrics. */
export const Public = () => SetMetadata(PUBLIC, true);

/** What a credential must be allowed to do here; of a class for all its routes, of a method for that one. */
export const Requires = (permission: Permission) => SetMetadata(REQUIRES, permission);

/** Guards every route: it is marked public, or says which permission it takes and has a principal with it. */
@Injectable()
export class ScopeGuard implements CanActivate {
  constructor(
    @Inject(Credentials) private readonly credentials: Credentials,
    @Inject(Reflector) private readonly reflector: Reflector,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const places = [context.getHandler(), context.getClass()];
    if (this.reflector.getAllAndOverride<boolean>(PUBLIC, places)) return true;
    const permission = this.reflector.getAllAndOverride<Permission>(REQUIRES, places);
    if (!permission) throw new AppError('INTERNAL', 'This route does not say which permission it requires.');
    const request = context.switchToHttp().getRequest<FastifyRequest & ScopedRequest>();
    const principal = await this.credentials.resolve({
      headers: request.headers,
      remoteAddress: request.socket.remoteAddress,
    });
    request.principal = principal;
    assertPermission(principal.permissions, permission);
    return true;
  }
}

/** @throws AppError PERMISSION_DENIED naming the permission that is missing */
export function assertPermission(permissions: ReadonlySet<Permission>, needed: Permission): void {
  if (permissions.has(needed)) return;
  throw new AppError(
    'PERMISSION_DENIED',
    `This needs the permission ${needed}; the credential has ${[...permissions].join(', ') || 'none'}.`,
  );
}
