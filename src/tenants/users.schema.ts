import { z } from 'zod';
import { ROLES } from '../edge/principal.js';
import { PRINTABLE, pageFields } from '../http/request.schema.js';

const EMAIL = 'an e-mail address';
const NAME = 'at most 200 printable characters';
const ROLE = `one of ${ROLES.join(', ')}`;
const name = z.string({ error: NAME }).trim().max(200, { error: NAME }).regex(PRINTABLE, { error: NAME });
const role = z.enum(ROLES, { error: ROLE });

export const memberBody = z.object({
  email: z
    .string({ error: EMAIL })
    .trim()
    .toLowerCase()
    .max(254, { error: EMAIL })
    .regex(/^[^\s@\p{Cc}\p{Cs}]+@[^\s@\p{Cc}\p{Cs}]+$/u, { error: EMAIL }),
  name: name.default(''),
  // Its length is checked where passwords are.
  password: z.string({ error: 'a text' }),
  role,
});
export const memberChange = z.object({ name, role, disabled: z.boolean({ error: 'true or false' }) });
export const membersQuery = z.object(pageFields);
