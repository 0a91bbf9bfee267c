import { z } from 'zod';
import { pageFields, timeFields } from './query.schema.js';

export const servicesQuery = z.object({ ...timeFields, ...pageFields });
