import type { Scope } from './scope.js';

/** What a credential may do. `ingest`: send OTLP. `read`, `write`: ask, and change what belongs to a tenant. `admin`: who else may. */
export const PERMISSIONS = ['ingest', 'read', 'write', 'admin'] as const;
export type Permission = (typeof PERMISSIONS)[number];

/** Roles of a user in an organization, the widest first. */
export const ROLES = ['owner', 'admin', 'editor', 'viewer'] as const;
export type Role = (typeof ROLES)[number];

/** What a role allows. An owner may do one thing more than an admin: make and remove owners. */
export const PERMISSIONS_OF_ROLE: Readonly<Record<Role, ReadonlySet<Permission>>> = {
  owner: new Set(PERMISSIONS),
  admin: new Set(PERMISSIONS),
  editor: new Set(['read', 'write']),
  viewer: new Set(['read']),
};

/** Which token bucket a request draws on. */
export type LimitProfile = 'default' | 'ingestion' | 'login';

/** So many requests per so many milliseconds, refilled continuously; a limit of 0 is no limit. */
export interface Limit {
  limit: number;
  ttlMs: number;
}

/** Who acts: found from the credential alone, and all that guards and the audit log need of it. */
export interface Principal {
  /** `system`: the program itself and its command line, in the audit log; no request comes from there. */
  readonly kind: 'user' | 'key' | 'anonymous' | 'system';
  /** Id of the user or key; `anonymous`, `system` for the rest. */
  readonly id: string;
  /** E-mail address of the user, name of the key. */
  readonly name: string;
  /** The tenant it acts for in this request. */
  readonly scope: Scope;
  readonly permissions: ReadonlySet<Permission>;
  /** Of a user, in the organization of `scope`. */
  readonly role?: Role;
  readonly sessionId?: string;
  /** A key's own limits, where they differ from the settings. */
  readonly limits?: Partial<Record<LimitProfile, Limit>>;
}

/** What is often there at once: a promise for each of thousands of requests a second costs more than what it waits for. */
export type MaybeNow<T> = T | Promise<T>;

/**
 * Turns what a client presents into a principal. Known ones are answered without a query to PostgreSQL; what was revoked, has
 * expired or lost a permission is known everywhere within a second.
 */
export interface Identities {
  /**
   * @param credential an API key or a login's access token
   * @param tenantId which of its tenants a login wants to act for; a key has only its own
   * @returns undefined when the credential is unknown, malformed, expired or revoked; not a promise when it is known
   * @throws AppError PERMISSION_DENIED when `tenantId` is not one of its tenants, the same whether it exists or not;
   *   UNAVAILABLE when it cannot be known because PostgreSQL is away
   */
  find(credential: string, tenantId: string | undefined): MaybeNow<Principal | undefined>;

  /** What this process has changed counts for its next request; for other processes' within a second. */
  expire(): void;
}

/** Injection token of the `Identities`; the edge asks, `tenants/` answers. */
export const IDENTITIES = Symbol('IDENTITIES');
