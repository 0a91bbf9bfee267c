import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { AppError } from '../errors.js';
import type { Principal } from './principal.js';
import type { Scope } from './scope.js';

/** A request on its way through the guards. */
export interface ScopedRequest {
  /** Who sends it, or why that is not known: found out once, by the guard that needs it first. */
  identified?: Promise<Principal>;
  /** Set by the scope guard as soon as it is known, before its permission is looked at. */
  principal?: Principal;
  /** Set on routes that are not public; public ones write their own refusals down. */
  needsCredential?: boolean;
}

function principalOf(context: ExecutionContext): Principal {
  const { principal } = context.switchToHttp().getRequest<ScopedRequest>();
  if (!principal) throw new AppError('INTERNAL', 'A route asked who acts but is not behind the scope guard.');
  return principal;
}

/** Controller parameter: who acts, as the guard found it. */
export const CurrentPrincipal = createParamDecorator(
  (_: unknown, context: ExecutionContext): Principal => principalOf(context),
);

/** Controller parameter: the scope of the request's credential, as the guard found it. */
export const CurrentScope = createParamDecorator(
  (_: unknown, context: ExecutionContext): Scope => principalOf(context).scope,
);
