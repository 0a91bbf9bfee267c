import type { BlockList } from 'node:net';
import { type CanActivate, type ExecutionContext, Inject, Injectable, SetMetadata } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import { AppError } from '../errors.js';
import { Credentials } from './credentials.js';
import type { ScopedRequest } from './current-scope.js';
import type { Permission, Principal } from './principal.js';
import { senderOf, TRUSTED_PROXIES } from './remote-address.js';

/** Metadata keys of the two decorators below, for whoever describes the routes. */
export const PUBLIC = 'telemetryflow:public';
export const REQUIRES = 'telemetryflow:requires';

/** Marks a route that shows nothing of any tenant and so needs no credential: health, metrics. */
export const Public = () => SetMetadata(PUBLIC, true);

/** What a credential must be allowed to do here; of a class for all its routes, of a method for that one. */
export const Requires = (permission: Permission) => SetMetadata(REQUIRES, permission);

export function isPublic(reflector: Reflector, context: ExecutionContext): boolean {
  return reflector.getAllAndOverride<boolean>(PUBLIC, [context.getHandler(), context.getClass()]) ?? false;
}

/** Guards every route: it is marked public, or says which permission it takes and has a principal with it. */
@Injectable()
export class ScopeGuard implements CanActivate {
  constructor(
    @Inject(Credentials) private readonly credentials: Credentials,
    @Inject(TRUSTED_PROXIES) private readonly proxies: BlockList | undefined,
    @Inject(Reflector) private readonly reflector: Reflector,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    if (isPublic(this.reflector, context)) return true;
    const places = [context.getHandler(), context.getClass()];
    const permission = this.reflector.getAllAndOverride<Permission>(REQUIRES, places);
    if (!permission) throw new AppError('INTERNAL', 'This route does not say which permission it requires.');
    const request = context.switchToHttp().getRequest<FastifyRequest & ScopedRequest>();
    request.needsCredential = true;
    const principal = await identify(request, this.credentials, this.proxies);
    request.principal = principal;
    if (principal.kind === 'anonymous' && !principal.permissions.has(permission)) {
      throw new AppError('UNAUTHENTICATED', 'A key or a login is required; without one only OTLP is taken.');
    }
    assertPermission(principal.permissions, permission);
    return true;
  }
}

/** Who sends a request, found out once for all guards. @throws AppError as `Credentials.resolve` does */
export function identify(
  request: FastifyRequest & ScopedRequest,
  credentials: Credentials,
  proxies: BlockList | undefined,
): Promise<Principal> {
  request.identified ??= credentials.resolve({
    headers: request.headers,
    remoteAddress: senderOf(request, proxies),
    method: request.method,
  });
  return request.identified;
}

/** @throws AppError PERMISSION_DENIED naming the permission that is missing */
export function assertPermission(permissions: ReadonlySet<Permission>, needed: Permission): void {
  if (permissions.has(needed)) return;
  throw new AppError(
    'PERMISSION_DENIED',
    `This needs the permission ${needed}; the credential has ${[...permissions].join(', ') || 'none'}.`,
  );
}
