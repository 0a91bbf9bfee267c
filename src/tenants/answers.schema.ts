import { z } from 'zod';
import { PERMISSIONS, ROLES } from '../edge/principal.js';
import type { ApiKey } from './api-keys.controller.js';
import type { Organization, Tenant, Workspace } from './hierarchy.js';
import type { Member } from './users.controller.js';

// What the routes answer, for their description. `satisfies` keeps each complete: the rows' types are the truth.

const id = z.string().meta({ format: 'uuid' });
/** PostgreSQL's time, which JSON writes as text. */
const time = z.custom<Date>().meta({ type: 'string', format: 'date-time' });
const role = z.enum(ROLES);
const permissions = z.array(z.enum(PERMISSIONS));
const named = { id, name: z.string(), created_at: time };

export const organization = z.object({
  ...named,
  role: role.nullable().describe('of the caller; null for a key'),
}) satisfies z.ZodType<Organization>;

export const workspace = z.object({ ...named, organization_id: id }) satisfies z.ZodType<Workspace>;

const quota = z.number().nullable().describe('per day (UTC); null: no quota');
export const tenant = z.object({
  ...named,
  organization_id: id,
  workspace_id: id,
  is_default: z.boolean(),
  items_per_day: quota,
  bytes_per_day: quota,
}) satisfies z.ZodType<Tenant>;

export const member = z.object({
  id,
  email: z.string(),
  name: z.string(),
  role,
  disabled: z.boolean(),
  created_at: time.describe('when it became a member'),
}) satisfies z.ZodType<Member>;

const limit = z.object({ limit: z.int().describe('0: none'), ttl_ms: z.int() }).optional();
const limits = z
  .object({ default: limit, ingestion: limit, login: limit })
  .nullable()
  .describe('where they differ from the settings');

export const apiKey = z.object({
  ...named,
  tenant_id: id,
  prefix: z.string().describe('the beginning of its text'),
  permissions,
  limits,
  expires_at: time.nullable(),
  expired: z.boolean(),
  revoked_at: time.nullable(),
  revoked: z.boolean(),
  created_by: z.string().describe('id of the user or key that made it, or system'),
  last_used_at: time.nullable().describe('to about a minute; null: never'),
}) satisfies z.ZodType<ApiKey>;

export const madeApiKey = apiKey.extend({ key: z.string().describe('its text; never shown again') });

export const auditEvent = z.object({
  id: z.int(),
  at: time,
  tenant_id: id.nullable().describe('null: of the organization as a whole'),
  actor_kind: z.enum(['user', 'key', 'anonymous', 'system']),
  actor_id: z.string(),
  actor_name: z.string(),
  action: z.string(),
  target_kind: z.string(),
  target_id: z.string(),
  target_name: z.string(),
  remote_address: z.string(),
  correlation_id: z.string(),
  result: z.enum(['ok', 'refused', 'failed']),
  details: z.record(z.string(), z.unknown()),
});
