import { z } from 'zod';
import { PERMISSIONS } from '../edge/principal.js';
import { about, nameField, pageFields, plain } from '../http/request.schema.js';

const LIMIT = 'a whole number from 0 (no limit) to 1000000000';
const TTL = 'milliseconds, a whole number from 1 to 86400000';
export const EXPIRY = 'a time to come, ISO 8601 or Unix milliseconds';
const GRANTS = `a list of one or more of ${PERMISSIONS.join(', ')}`;

const limit = z.strictObject(
  {
    limit: z.int({ error: LIMIT }).min(0, { error: LIMIT }).max(1_000_000_000, { error: LIMIT }),
    ttl_ms: z.int({ error: TTL }).min(1, { error: TTL }).max(86_400_000, { error: TTL }),
  },
  { error: '{limit, ttl_ms}' },
);
const limits = z
  .strictObject(
    { default: limit.optional(), ingestion: limit.optional() },
    { error: '{default?: {limit, ttl_ms}, ingestion?: {limit, ttl_ms}}, or null' },
  )
  .nullable();

export const keyBody = z.object({
  name: nameField,
  permissions: z.array(z.enum(PERMISSIONS, { error: GRANTS }), { error: GRANTS }).min(1, { error: GRANTS }),
  tenant_id: z.string({ error: 'an id' }).optional(),
  expires_at: z.union([z.string(), z.number()], { error: EXPIRY }).nullable().optional(),
  limits: limits.optional(),
});
export const keyChange = z.object({ name: nameField, limits });
export const keysQuery = z.object({
  tenant_id: about('Keys of this tenant; the one of the credential unless given', plain).optional(),
  ...pageFields,
});
