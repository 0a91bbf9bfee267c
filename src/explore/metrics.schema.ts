import { z } from 'zod';
import { AppError } from '../errors.js';
import {
  type AttributePrefix,
  about,
  name,
  names,
  oneOf,
  pageFields,
  plain,
  questionFields,
  text,
} from '../http/request.schema.js';
import type { TimeRange } from '../http/time.js';
import { AGGREGATIONS } from '../series/aggregation.js';

/** `filter.<attr>=v`, `filter.resource.<attr>=v`. */
export const METRIC_PREFIXES: AttributePrefix[] = [
  {
    prefix: 'filter.',
    key: '',
    meaning: 'an attribute of the data point, or with filter.resource.<key> of its resource',
  },
];

export const metricNamesQuery = z.object({
  service: about('Names of services', names).default([]),
  prefix: about('What the name of the metric begins with', plain).default(''),
  ...questionFields,
  ...pageFields,
});

export const metricPointsQuery = z.object({
  metric: about('Name of the metric', name).optional(),
  service: about('Names of services', names).default([]),
  order: about('Newest first (unless given), or oldest', oneOf('desc', 'asc')).default('desc'),
  ...questionFields,
  ...pageFields,
});

const UNIT_MS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
const MAX_STEP_MS = 366 * UNIT_MS.d;

function parseStep(given: string): number | undefined {
  const match = /^(\d{1,9})([smhdw]?)$/.exec(given);
  const stepMs = match ? Number(match[1]) * UNIT_MS[match[2] || 's'] : 0;
  return stepMs > 0 && stepMs <= MAX_STEP_MS ? stepMs : undefined;
}

export const stepField = about(
  'Length of a step, about 300 to the time range unless given',
  text(parseStep, 'seconds, or 15s, 1m, 1h style (s, m, h, d, w)'),
).optional();

export const metricQuery = z.object({
  metric: about('Name of the metric', name),
  service: about('Names of services', names).default([]),
  agg: about(
    'What is made of the points of a step, what fits the metric unless given',
    oneOf(...AGGREGATIONS),
  ).optional(),
  step: stepField,
  group_by: about(
    'Attribute names, resource.<key> or service_name: a series for each of their values',
    names,
  ).default([]),
  ...questionFields,
});

/** As many as a chart can use; Prometheus has the same limit. */
const MAX_STEPS = 11_000;
const WANTED_STEPS = 300;
const NICE_STEPS_S = [
  1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800,
];

/**
 * The step given, or the smallest round one that gives about 300 points at most.
 *
 * @throws AppError INVALID_ARGUMENT when the range has too many of the steps given
 */
export function stepFor(range: TimeRange, givenMs: number | undefined): number {
  const rangeMs = Number(range.toNs - range.fromNs) / 1e6;
  if (givenMs === undefined) {
    const fitting = NICE_STEPS_S.find((seconds) => rangeMs / (seconds * 1000) <= WANTED_STEPS);
    return (fitting ?? Math.ceil(rangeMs / UNIT_MS.w / WANTED_STEPS) * 604_800) * 1000;
  }
  if (rangeMs / givenMs <= MAX_STEPS) return givenMs;
  const least = Math.ceil(rangeMs / MAX_STEPS / 1000);
  throw new AppError(
    'INVALID_ARGUMENT',
    `A series has ${MAX_STEPS} points at most; use a step of ${least}s or more.`,
    {
      details: [
        { field: 'step', given: `${givenMs / 1000}s`, allowed: `at least ${least}s for this time range` },
      ],
    },
  );
}
