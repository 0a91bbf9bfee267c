import { AppError } from '../errors.js';
import type { Principal } from './principal.js';
import type { Scope } from './scope.js';

/**
 * What belongs to the program and not to a tenant, its queues say, is for the admins of the organization that the first start
 * made: other organizations' admins are customers.
 *
 * @param home the scope of the default tenant
 * @throws AppError PERMISSION_DENIED
 */
export function assertOperator(principal: Principal, home: Scope): void {
  if (principal.permissions.has('admin') && principal.scope.organizationId === home.organizationId) return;
  throw new AppError(
    'PERMISSION_DENIED',
    'This is for admins of the organization that runs the program, the one that the first start made.',
  );
}
