import { z } from 'zod';
import { pageFields, timeFields } from '../http/request.schema.js';

export const servicesQuery = z.object({ ...timeFields, ...pageFields });
