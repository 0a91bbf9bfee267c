import { hash } from 'node:crypto';
import {
  type Identities,
  type Limit,
  type LimitProfile,
  type MaybeNow,
  PERMISSIONS_OF_ROLE,
  type Principal,
} from '../edge/principal.js';
import { AppError } from '../errors.js';
import { hashKey, prefixOf, type StoredLimits, sameDigest } from '../tenants/api-key.js';
import type { AccessTokens, TokenClaims } from './access-token.js';
import type { AccessVersion } from './access-version.js';
import type { KeyRow, SessionRow } from './identity-rows.js';
import type { VersionedRows } from './versioned-rows.js';

const MAX_KNOWN = 10_000;

/** A credential that is good at one version of what PostgreSQL knows, until it expires. */
interface Known {
  version: string;
  expiresAtMs: number;
  /** Of a key, whose use is noted. */
  keyId?: string;
  /** What it acts as: first the one it acts as unless told otherwise. */
  principals: Principal[];
}

/** Of a credential that is nobody's. */
const NOBODY: Principal[] = [];

export interface IdentitySources {
  version: AccessVersion;
  keys: VersionedRows<KeyRow>;
  sessions: VersionedRows<SessionRow>;
  tokens: AccessTokens;
  /** Told of every use of a key. */
  used: (keyId: string, atMs: number) => void;
  /** For expiry. */
  nowMs?: () => number;
}

/**
 * The `Identities` of this process: what was looked up is kept for as long as `access_version` stays the same, by the
 * credential's SHA-256, so that a request costs one digest and no query. What has to be looked up comes from the cache that all instances share, or PostgreSQL.
 *
 * What is nobody's is kept apart from what is somebody's: guesses push out guesses alone.
 */
export class KnownIdentities implements Identities {
  private readonly known = new Map<string, Known>();
  private readonly unknown = new Map<string, Known>();
  /** What is being looked up, by version and digest: whoever comes meanwhile waits for the same. */
  private readonly looking = new Map<string, Promise<Known | undefined>>();
  private readonly nowMs: () => number;

  constructor(private readonly sources: IdentitySources) {
    this.nowMs = sources.nowMs ?? Date.now;
  }

  find(credential: string, tenantId: string | undefined): MaybeNow<Principal | undefined> {
    const digest = hash('sha256', credential, 'base64');
    const kept = this.known.get(digest);
    const [first] = kept?.principals ?? NOBODY;
    const now = this.nowMs();
    if (
      kept === undefined ||
      first === undefined ||
      tenantId !== undefined ||
      kept.version !== this.sources.version.get() ||
      kept.expiresAtMs <= now
    )
      return this.findLater(credential, digest, tenantId);
    if (kept.keyId !== undefined) this.sources.used(kept.keyId, now);
    return first;
  }

  private async findLater(
    credential: string,
    digest: string,
    tenantId: string | undefined,
  ): Promise<Principal | undefined> {
    const version = this.sources.version.get() ?? (await this.sources.version.wait());
    const kept = this.known.get(digest) ?? this.unknown.get(digest);
    const found = kept?.version === version ? kept : await this.lookOnce(credential, digest, version);
    if (found === undefined || found.principals === NOBODY) return undefined;
    const now = this.nowMs();
    if (found.expiresAtMs <= now) return undefined;
    if (found.keyId !== undefined) this.sources.used(found.keyId, now);
    return chosen(found.principals, tenantId);
  }

  expire(): void {
    this.sources.version.expire();
  }

  private lookOnce(credential: string, digest: string, version: string): Promise<Known | undefined> {
    const id = `${version} ${digest}`;
    const underWay = this.looking.get(id);
    if (underWay) return underWay;
    const looking = this.look(credential, digest, version).finally(() => this.looking.delete(id));
    this.looking.set(id, looking);
    return looking;
  }

  /** Asks PostgreSQL, and keeps what it says. Text that cannot be a credential is not asked about. */
  private async look(credential: string, digest: string, version: string): Promise<Known | undefined> {
    const prefix = prefixOf(credential);
    const claims =
      prefix === undefined ? await this.sources.tokens.verify(credential, this.nowMs()) : undefined;
    if (prefix === undefined && claims === undefined) return undefined;
    const found = claims
      ? await this.ofSession(claims, version)
      : await this.ofKey(prefix!, credential, version);
    const entry = { version, ...(found ?? { expiresAtMs: 0, principals: NOBODY }) };
    this.known.delete(digest);
    this.unknown.delete(digest);
    keep(found ? this.known : this.unknown, digest, entry);
    return entry;
  }

  private async ofKey(
    prefix: string,
    key: string,
    version: string,
  ): Promise<Omit<Known, 'version'> | undefined> {
    const row = await this.sources.keys.find(prefix, version);
    // Compared even when there is no such prefix: the time tells nobody which prefixes there are.
    const digest = hashKey(key);
    const isSame = sameDigest(digest, row ? Buffer.from(row.hash, 'base64') : hashKey(prefix));
    if (!row || !isSame || row.isRevoked) return undefined;
    const { id, name, scope } = row;
    const limits = row.limits ? limitsOf(row.limits) : undefined;
    const principal: Principal = {
      kind: 'key',
      id,
      name,
      scope,
      permissions: new Set(row.permissions),
      limits,
    };
    return {
      keyId: id,
      expiresAtMs: row.expiresAtMs ?? Number.POSITIVE_INFINITY,
      principals: [principal],
    };
  }

  private async ofSession(
    { userId, sessionId, expiresAtMs }: TokenClaims,
    version: string,
  ): Promise<Omit<Known, 'version'> | undefined> {
    const row = await this.sources.sessions.find(sessionId, version);
    if (!row || row.userId !== userId || row.isEnded) return undefined;
    const principals = row.reach.map(({ scope, role }) => ({
      kind: 'user' as const,
      id: userId,
      name: row.email,
      scope,
      permissions: PERMISSIONS_OF_ROLE[role],
      role,
      sessionId,
    }));
    return { expiresAtMs: Math.min(expiresAtMs, row.expiresAtMs), principals };
  }
}

/** @throws AppError PERMISSION_DENIED when it is none of these, whether there is such a tenant or not */
function chosen(principals: Principal[], tenantId: string | undefined): Principal {
  const principal =
    tenantId === undefined ? principals[0] : principals.find(({ scope }) => scope.tenantId === tenantId);
  if (principal) return principal;
  if (principals.length === 0) {
    throw new AppError('PERMISSION_DENIED', 'This user belongs to no organization that has a tenant.');
  }
  throw new AppError('PERMISSION_DENIED', 'X-Tenant-ID is not a tenant of this credential.');
}

/** The oldest goes: at 10,000 that is cheaper than knowing which was used last. */
function keep(map: Map<string, Known>, digest: string, entry: Known): void {
  if (map.size >= MAX_KNOWN) map.delete(map.keys().next().value!);
  map.set(digest, entry);
}

function limitsOf(stored: StoredLimits): Partial<Record<LimitProfile, Limit>> {
  const entries = Object.entries(stored) as [LimitProfile, { limit: number; ttl_ms: number }][];
  return Object.fromEntries(
    entries.map(([profile, { limit, ttl_ms: ttlMs }]) => [profile, { limit, ttlMs }]),
  );
}
