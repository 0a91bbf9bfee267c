import { z } from 'zod';
import { pageFields, timeFields } from '../edge/request.schema.js';

export const servicesQuery = z.object({ ...timeFields, ...pageFields });
