import { z } from 'zod';
import { pageFields, questionFields } from '../http/request.schema.js';

export const servicesQuery = z.object({ ...questionFields, ...pageFields });
