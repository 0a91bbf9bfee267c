import type { Scope } from '../edge/scope.js';

/**
 * Whose the program's own test items are. Ids of tenants are UUIDs, so this is no customer's, no key or login can name it, and
 * nobody's answers hold it.
 */
export const CANARY_SCOPE: Scope = { organizationId: 'canary', workspaceId: 'canary', tenantId: 'canary' };

export const isCanary = ({ tenantId }: Scope) => tenantId === CANARY_SCOPE.tenantId;
