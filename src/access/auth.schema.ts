import { z } from 'zod';
import { PERMISSIONS, ROLES } from '../edge/principal.js';
import { AppError } from '../errors.js';
import { about, plain } from '../http/request.schema.js';
import type { Tokens } from './sessions.js';

const MAX_EMAIL = 320;
const MAX_TOKEN = 200;
/** Longer than a password may be: a wrong one is wrong, not a bad request. */
const MAX_PASSWORD = 4096;

const text = (max: number, allowed: string, pattern = /^/) => {
  const error = allowed;
  return z.string({ error }).min(1, { error }).max(max, { error }).regex(pattern, { error });
};
const email = text(MAX_EMAIL, `an e-mail address, ${MAX_EMAIL} characters at most`, /^[^@\s\0]+@[^@\s\0]+$/);
const password = text(MAX_PASSWORD, 'text');

export const loginBody = z.strictObject({ email, password });
export const refreshBody = z.strictObject({ refresh_token: text(MAX_TOKEN, 'the refresh_token of a login') });
export const passwordBody = z.strictObject({
  current_password: password,
  new_password: password,
});
export const linkQuery = z.object({ code: about('The code of the link', plain) });

export const tokens = z.object({
  access_token: z.string(),
  token_type: z.literal('Bearer'),
  expires_in: z.int().describe('seconds'),
  refresh_token: z.string(),
}) satisfies z.ZodType<Tokens>;

const id = z.string().meta({ format: 'uuid' });
const named = { id, name: z.string() };
const role = z.enum(ROLES);
export const whoAmI = z.object({
  kind: z.enum(['user', 'key']),
  user: z.object({ ...named, email: z.string() }).optional(),
  organizations: z.array(z.object({ ...named, role })).optional(),
  tenants: z
    .array(z.object({ ...named, workspace_id: id, workspace_name: z.string(), organization_id: id, role }))
    .optional()
    .describe('what X-Tenant-ID may name'),
  key: z.object(named).optional(),
  scope: z.object({ organization_id: id, workspace_id: id, tenant_id: id }),
  role: role.nullable(),
  permissions: z.array(z.enum(PERMISSIONS)),
});

/**
 * Checks a JSON body that may hold a secret: what was given is never told back.
 *
 * @throws AppError INVALID_ARGUMENT, details [{field, allowed}] for all that is wrong
 */
export function parseSecretBody<T extends z.ZodObject>(schema: T, body: unknown): z.output<T> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const known = Object.keys(schema.shape).join(', ');
  const details = parsed.error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((field) => ({ field, allowed: `a field of this route: ${known}` }))
      : [
          issue.path.length > 0
            ? { field: issue.path.join('.'), allowed: issue.message }
            : { field: 'body', allowed: `a JSON object with ${known}` },
        ],
  );
  const sentences = details.map(({ field, allowed }) => `${field} must be ${allowed}`);
  throw new AppError('INVALID_ARGUMENT', `Bad request: ${sentences.join('; ')}.`, { details });
}
