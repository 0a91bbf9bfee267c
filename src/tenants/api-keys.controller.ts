import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Patch, Post, Query } from '@nestjs/common';
import { DataSource, type EntityManager } from 'typeorm';
import type { z } from 'zod';
import { CurrentPrincipal } from '../edge/current-scope.js';
import type { Limit, LimitProfile, Permission, Principal } from '../edge/principal.js';
import { Requires } from '../edge/scope.guard.js';
import { AppError } from '../errors.js';
import { ApiRoute } from '../http/api-route.js';
import { parseBody, parseChange, parseQuery, type RawQuery } from '../http/request.schema.js';
import { parseTime } from '../http/time.js';
import { apiKey, madeApiKey } from './answers.schema.js';
import { createApiKey, type StoredLimits } from './api-key.js';
import { EXPIRY, keyBody, keyChange, keysQuery } from './api-keys.schema.js';
import {
  ask,
  byAge,
  Changes,
  CurrentDoing,
  type Doing,
  differences,
  type List,
  listRows,
  readOne,
} from './rows.js';

/** A key as it is shown: never its text, nor what is kept of it. */
export interface ApiKey {
  id: string;
  tenant_id: string;
  name: string;
  prefix: string;
  permissions: Permission[];
  limits: StoredLimits | null;
  expires_at: Date | null;
  expired: boolean;
  revoked_at: Date | null;
  revoked: boolean;
  /** Id of the user or key that made it, or `system`. */
  created_by: string;
  created_at: Date;
  /** To about a minute; null: never. */
  last_used_at: Date | null;
}

const COLUMNS = `api_keys.id, api_keys.tenant_id, api_keys.name, api_keys.prefix, api_keys.permissions, api_keys.limits,
  api_keys.expires_at, coalesce(api_keys.expires_at <= now(), false) AS expired, api_keys.revoked_at,
  api_keys.revoked_at IS NOT NULL AS revoked, api_keys.created_by, api_keys.created_at, api_key_uses.last_used_at`;
const KEYS = `api_keys JOIN tenants ON tenants.id = api_keys.tenant_id JOIN workspaces ON workspaces.id = tenants.workspace_id
  LEFT JOIN api_key_uses ON api_key_uses.api_key_id = api_keys.id`;
/** An admin of the organization ($1) reaches all its tenants, a key ($2) its own. */
const REACHED = 'workspaces.organization_id = $1 AND ($2::uuid IS NULL OR tenants.id = $2)';

function reachOf({ kind, scope }: Principal): [string, string | null] {
  return [scope.organizationId, kind === 'user' ? null : scope.tenantId];
}

/** Keys of the tenant that the credential acts for, or of another one within its reach. */
@Requires('admin')
@Controller('api/v1/api-keys')
export class ApiKeysController {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(Changes) private readonly changes: Changes,
  ) {}

  @ApiRoute({ summary: 'List API keys of a tenant', query: keysQuery, list: apiKey, errors: ['NOT_FOUND'] })
  @Get()
  async list(@CurrentPrincipal() principal: Principal, @Query() raw: RawQuery) {
    const { tenant_id = principal.scope.tenantId, ...page } = parseQuery(keysQuery, raw);
    await assertTenant(principal, this.source, tenant_id);
    const list: List = {
      name: 'api-keys',
      filters: { tenant_id },
      columns: COLUMNS,
      from: KEYS,
      where: `${REACHED} AND api_keys.tenant_id = $3`,
      parameters: [...reachOf(principal), tenant_id],
      sortedBy: byAge('api_keys'),
    };
    return listRows<ApiKey>(principal.scope, this.source, () => list, page);
  }

  @ApiRoute({ summary: 'Read an API key', response: apiKey })
  @Get(':id')
  read(@CurrentPrincipal() principal: Principal, @Param('id') id: string) {
    return readKey(principal, this.source, id);
  }

  @ApiRoute({
    summary: 'Make an API key',
    description: 'The answer shows its text, in `key`, this once.',
    body: keyBody,
    response: madeApiKey,
    errors: ['NOT_FOUND'],
  })
  @Post()
  create(@CurrentDoing() doing: Doing, @Body() body: unknown) {
    const given = parseBody(keyBody, body);
    return createKey(doing, this.changes, given, expiryOf(given.expires_at, Date.now()));
  }

  @ApiRoute({ summary: 'Change name or limits of an API key', body: keyChange.partial(), response: apiKey })
  @Patch(':id')
  change(@CurrentDoing() doing: Doing, @Param('id') id: string, @Body() body: unknown) {
    return changeKey(doing, this.changes, id, parseChange(keyChange, body));
  }

  @ApiRoute({
    summary: 'Revoke an API key',
    description: 'It stays in lists, and never opens again.',
    status: 204,
  })
  @Delete(':id')
  @HttpCode(204)
  revoke(@CurrentDoing() doing: Doing, @Param('id') id: string) {
    return revokeKey(doing, this.changes, id);
  }
}

/** @throws AppError INVALID_ARGUMENT when it is no time, or past */
function expiryOf(given: string | number | null | undefined, nowMs: number): Date | undefined {
  if (given === null || given === undefined) return undefined;
  const time = parseTime(String(given));
  const expiry = time && 'unixNano' in time ? new Date(Number(time.unixNano / 1_000_000n)) : undefined;
  if (expiry && expiry.getTime() > nowMs) return expiry;
  throw new AppError('INVALID_ARGUMENT', `expires_at must be ${EXPIRY}.`, {
    details: [{ field: 'expires_at', given: String(given).slice(0, 100), allowed: EXPIRY }],
  });
}

/** @throws AppError NOT_FOUND when the tenant is not within the principal's reach */
async function assertTenant(
  principal: Principal,
  source: DataSource | EntityManager,
  id: string,
  forKey = false,
): Promise<void> {
  const sql = `SELECT 1 FROM tenants JOIN workspaces ON workspaces.id = tenants.workspace_id
    WHERE ${REACHED} AND tenants.id = $3 ${forKey ? 'FOR KEY SHARE OF tenants' : ''}`;
  await readOne(source, 'tenant', id, sql, reachOf(principal));
}

async function readKey(
  principal: Principal,
  source: DataSource | EntityManager,
  id: string,
  forChange = false,
): Promise<ApiKey> {
  const sql = `SELECT ${COLUMNS} FROM ${KEYS} WHERE ${REACHED} AND api_keys.id = $3
    ${forChange ? 'FOR UPDATE OF api_keys' : ''}`;
  return readOne(source, 'API key', id, sql, reachOf(principal));
}

const targetOf = ({ id, name }: { id: string; name: string }) => ({ kind: 'api_key', id, name });

/**
 * @returns the key, with its text in `key`: the only time that it is shown
 * @throws AppError NOT_FOUND when the tenant is not the caller's, PERMISSION_DENIED for a permission it does not have itself
 */
function createKey(
  doing: Doing,
  changes: Changes,
  given: z.output<typeof keyBody>,
  expiresAt: Date | undefined,
): Promise<ApiKey & { key: string }> {
  const { principal } = doing;
  const { name, permissions, tenant_id: tenantId = principal.scope.tenantId } = given;
  return changes.run(doing, async (manager, note) => {
    // Held until the key is there: a tenant that is being deleted gets none.
    await assertTenant(principal, manager, tenantId, true);
    const beyond = permissions.filter((permission) => !principal.permissions.has(permission));
    if (beyond.length > 0)
      throw new AppError(
        'PERMISSION_DENIED',
        `You do not have ${beyond.join(', ')} yourself, and so cannot grant it.`,
      );
    const createdBy = principal.id;
    const limits = given.limits ? limitsOf(given.limits) : undefined;
    const { id, key } = await createApiKey(manager, {
      tenantId,
      name,
      permissions,
      limits,
      expiresAt,
      createdBy,
    });
    const made = await readKey(principal, manager, id);
    const { prefix, expires_at } = made;
    const after = { name, prefix, permissions: made.permissions, limits: made.limits, expires_at };
    const { organizationId } = principal.scope;
    await note({
      action: 'api_key.create',
      organizationId,
      tenantId,
      target: targetOf(made),
      details: { after },
    });
    return { ...made, key };
  });
}

function limitsOf(stored: StoredLimits): Partial<Record<LimitProfile, Limit>> {
  return Object.fromEntries(
    Object.entries(stored).map(([profile, { limit, ttl_ms }]) => [profile, { limit, ttlMs: ttl_ms }]),
  );
}

function changeKey(
  doing: Doing,
  changes: Changes,
  id: string,
  given: Partial<z.output<typeof keyChange>>,
): Promise<ApiKey> {
  const { principal } = doing;
  return changes.run(doing, async (manager, note) => {
    const key = await readKey(principal, manager, id, true);
    const changed = differences<Pick<ApiKey, 'name' | 'limits'>>(key, given);
    if (!changed) return key;
    const { name, limits } = { ...key, ...given };
    const sql = 'UPDATE api_keys SET name = $2, limits = $3 WHERE id = $1';
    await ask(manager, sql, [key.id, name, limits === null ? null : JSON.stringify(limits)]);
    const { organizationId } = principal.scope;
    const target = targetOf(key);
    const tenantId = key.tenant_id;
    await note({ action: 'api_key.update', organizationId, tenantId, target, details: { changes: changed } });
    return readKey(principal, manager, id);
  });
}

/** The row stays, so that lists and the record go on naming it. Revoking twice is revoking once. */
function revokeKey(doing: Doing, changes: Changes, id: string): Promise<void> {
  const { principal } = doing;
  return changes.run(doing, async (manager, note) => {
    const key = await readKey(principal, manager, id, true);
    if (key.revoked) return;
    await ask(manager, 'UPDATE api_keys SET revoked_at = now() WHERE id = $1', [key.id]);
    const { organizationId } = principal.scope;
    const { name, prefix, permissions } = key;
    const details = { before: { name, prefix, permissions } };
    const tenantId = key.tenant_id;
    await note({ action: 'api_key.revoke', organizationId, tenantId, target: targetOf(key), details });
  });
}
