/**
 * Who a request acts for. It comes from the credential alone: never from a header, a resource attribute or a
 * body. Every store and repository function takes it as its first argument and puts it into the WHERE.
 */
export interface Scope {
  readonly organizationId: string;
  readonly workspaceId: string;
  readonly tenantId: string;
}

/** Injection token of the scope of the default tenant, which requests without a key from this machine act for. */
export const DEFAULT_SCOPE = Symbol('DEFAULT_SCOPE');
