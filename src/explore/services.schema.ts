import { z } from 'zod';
import { about, names, oneOf, pageFields, questionFields, text, words } from '../http/request.schema.js';
import { OPERATION_ORDERS, type Operation, type RedSeries } from '../store/operations.js';
import type { ServiceMap } from '../store/service-map.js';
import { meta } from './answers.schema.js';
import { stepField } from './metrics.schema.js';
import { KINDS } from './traces.schema.js';

export const servicesQuery = z.object({ ...questionFields, ...pageFields });

const operationFields = {
  service: about('Names of services', names).default([]),
  /** One name, not a list: span names may hold commas. */
  operation: about(
    'What the span does',
    text((given) => [given], 'a span name'),
  ).default([]),
  kind: about(
    'Kinds of span that count, what comes in from outside unless given: server, consumer, and spans without a parent',
    words(KINDS),
  ).default([]),
  ...questionFields,
};

export const operationsQuery = z.object({
  by: about(
    'A row for each operation (unless given), or for each service',
    oneOf('operation', 'service'),
  ).default('operation'),
  order: about('By the most calls (unless given), or something else', oneOf(...OPERATION_ORDERS)).default(
    'calls',
  ),
  ...operationFields,
  ...pageFields,
});

export const operationSeriesQuery = z.object({ ...operationFields, step: stepField });

export const serviceMapQuery = z.object(questionFields);

const red = {
  calls: z.int(),
  rate: z.number().describe('calls per second'),
  errors: z.int(),
  error_rate: z.number().describe('errors / calls'),
  p50_ms: z.number().describe('to 1 %'),
  p95_ms: z.number(),
  p99_ms: z.number(),
};

export const operation = z.object({
  service_name: z.string(),
  operation: z.string().describe('empty where all of a service are summed'),
  ...red,
  total_ms: z.number().describe('time spent in it, all calls together'),
}) satisfies z.ZodType<Operation>;

export const redSeries = z.object({
  step: z.number().describe('seconds'),
  points: z
    .array(z.object({ time_ms: z.int().describe('begin of the step, Unix milliseconds'), ...red }))
    .describe('steps without calls are left out'),
  meta,
}) satisfies z.ZodType<RedSeries>;

const nodeKind = z.enum(['service', 'database', 'messaging', 'external']);

export const serviceMap = z.object({
  nodes: z.array(
    z.object({
      id: z.string().describe('what edges call it'),
      name: z.string(),
      kind: nodeKind.describe('all but service are known by the attributes of those who call them'),
      system: z.string().optional().describe('of databases and messaging: postgresql, kafka'),
      span_count: z.int().optional().describe('of services'),
      error_count: z.int().optional(),
    }),
  ),
  edges: z
    .array(
      z.object({
        source: z.string(),
        target: z.string(),
        calls: z.int(),
        errors: z.int(),
        p95_ms: z.number(),
        seen_by: z
          .enum(['callee', 'caller'])
          .describe(
            "callee: counted and timed by the target's spans; caller: by the source's, as the target sent none",
          ),
      }),
    )
    .describe('the busiest first'),
  meta,
}) satisfies z.ZodType<ServiceMap>;
