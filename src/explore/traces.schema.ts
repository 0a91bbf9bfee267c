import { z } from 'zod';
import {
  about,
  hexId,
  milliseconds,
  names,
  oneOf,
  pageFields,
  questionFields,
  text,
  words,
} from '../http/request.schema.js';

export const KINDS = ['UNSPECIFIED', 'INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER'];

export const tracesQuery = z.object({
  service: about('Names of services', names).default([]),
  /** One name, not a list: span names may hold commas. */
  operation: about(
    'What the span does',
    text((given) => [given], 'a span name'),
  ).default([]),
  kind: about('Kinds of span', words(KINDS)).default([]),
  status: about('Statuses of the span', words(['UNSET', 'OK', 'ERROR'])).default([]),
  min_duration_ms: about('Shortest span', milliseconds).optional(),
  max_duration_ms: about('Longest span', milliseconds).optional(),
  order: about(
    'By the newest span that matches (unless given), or by the longest',
    oneOf('recent', 'slowest'),
  ).default('recent'),
  ...questionFields,
  ...pageFields,
});

/** Of one trace. Without a time range all days are read. */
export const traceQuery = z.object({ ...questionFields, trace_id: about('Trace', hexId(16)) });
