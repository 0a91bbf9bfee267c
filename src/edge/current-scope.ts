import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { AppError } from '../errors.js';
import type { Scope } from './scope.js';

/** A request that the guard has let through. */
export interface ScopedRequest {
  scope?: Scope;
}

/** Controller parameter: the scope of the request's credential, as the guard found it. */
export const CurrentScope = createParamDecorator((_: unknown, context: ExecutionContext): Scope => {
  const { scope } = context.switchToHttp().getRequest<ScopedRequest>();
  if (!scope) throw new AppError('INTERNAL', 'A route asked for a scope but is not behind the scope guard.');
  return scope;
});
