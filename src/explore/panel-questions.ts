import { z } from 'zod';
import { type AttributePrefix, parseQuery, type RawQuery } from '../http/request.schema.js';
import { logsQuery, RECORD_PREFIXES } from './logs.schema.js';
import { METRIC_PREFIXES, metricQuery } from './metrics.schema.js';
import { operationSeriesQuery, operationsQuery, serviceMapQuery, servicesQuery } from './services.schema.js';
import { tracesQuery } from './traces.schema.js';

/** What whoever shows a panel says: the range that all panels share, how old an answer may be, and which page. */
const SAID_WHEN_ASKED = ['from', 'to', 'max_age', 'explain', 'page', 'cursor'];

function checkOf(schema: z.ZodObject, prefixes: AttributePrefix[] = []) {
  const kept = Object.entries(schema.shape).filter(([name]) => !SAID_WHEN_ASKED.includes(name));
  const lasting = z.object(Object.fromEntries(kept));
  return (parameters: RawQuery): void => void parseQuery(lasting, parameters, prefixes);
}

/**
 * Questions of the query API that can be kept and asked again, by their path under /api/v1: each checks parameters as its route
 * does, and throws the same AppError INVALID_ARGUMENT.
 */
export const PANEL_QUESTIONS = {
  'metrics/query': checkOf(metricQuery, METRIC_PREFIXES),
  logs: checkOf(logsQuery, RECORD_PREFIXES),
  traces: checkOf(tracesQuery, RECORD_PREFIXES),
  services: checkOf(servicesQuery),
  'service-map': checkOf(serviceMapQuery),
  operations: checkOf(operationsQuery),
  'operations/series': checkOf(operationSeriesQuery),
};
