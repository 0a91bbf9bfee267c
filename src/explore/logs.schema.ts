import { z } from 'zod';
import { MAX_TERMS, parseTerms } from '../figures/search-terms.js';
import {
  type AttributeFilter,
  type AttributePrefix,
  about,
  hexId,
  names,
  oneOf,
  pageFields,
  questionFields,
  text,
  timeFields,
} from '../http/request.schema.js';
import { severityNumber } from '../store/logs.js';

/** `attr.<key>=v` of the record or span itself, `resource.<key>=v` of its resource. */
export const RECORD_PREFIXES: AttributePrefix[] = [
  { prefix: 'attr.', key: '', meaning: 'an attribute of the record or span itself' },
  { prefix: 'resource.', key: 'resource.', meaning: 'an attribute of its resource' },
];

const logFilters = {
  q: about(
    'What the body must hold, in any case; a word after - must not be in it',
    text(parseTerms, `words and "phrases", ${MAX_TERMS} at most`),
  ).default([]),
  service: about('Names of services', names).default([]),
  severity: about('Severities, by their names or as the sender wrote them', names).default([]),
  min_severity: about(
    'Lowest severity',
    text(severityNumber, 'trace, debug, info, warn, error, fatal, or a number from 1 to 24'),
  ).optional(),
  trace_id: about('Trace', hexId(16)).optional(),
  span_id: about('Span', hexId(8)).optional(),
};

export const logsQuery = z.object({
  ...logFilters,
  order: about('Newest first (unless given), or oldest', oneOf('desc', 'asc')).default('desc'),
  ...questionFields,
  ...pageFields,
});

export const tailQuery = z.object({
  ...logFilters,
  from: about(
    'Where the tail begins, 10 seconds ago unless given, an hour ago at most',
    timeFields.from.unwrap(),
  ).optional(),
});

type Filters = z.output<ReturnType<typeof z.object<typeof logFilters>>> & { attributes: AttributeFilter[] };

/** What is asked of the store. */
export const questionOf = (query: Filters) => ({
  terms: query.q,
  services: query.service,
  severities: query.severity,
  minSeverity: query.min_severity,
  traceId: query.trace_id,
  spanId: query.span_id,
  attributes: query.attributes,
});
