import { z } from 'zod';
import {
  hexId,
  milliseconds,
  names,
  oneOf,
  pageFields,
  text,
  timeFields,
  words,
} from '../edge/request.schema.js';

const KINDS = ['UNSPECIFIED', 'INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER'];

export const tracesQuery = z.object({
  service: names.default([]),
  /** One name, not a list: span names may hold commas. */
  operation: text((given) => [given], 'a span name').default([]),
  kind: words(KINDS).default([]),
  status: words(['UNSET', 'OK', 'ERROR']).default([]),
  min_duration_ms: milliseconds.optional(),
  max_duration_ms: milliseconds.optional(),
  order: oneOf('recent', 'slowest').default('recent'),
  ...timeFields,
  ...pageFields,
});

/** Of one trace. Without a time range all days are read. */
export const traceQuery = z.object({ ...timeFields, trace_id: hexId(16) });
