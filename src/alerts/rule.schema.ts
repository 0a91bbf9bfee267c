import { z } from 'zod';
import { type Condition, LEVELS, NO_DATA, OPERATORS } from '../alert-states/transition.js';
import { AppError } from '../errors.js';
import { MAX_TERMS, parseTerms } from '../figures/search-terms.js';
import { SPAN_FIGURES } from '../figures/span-figures.js';
import { nameField, PRINTABLE, PRINTABLE_LINES, parseBody } from '../http/request.schema.js';
import { AGGREGATIONS } from '../series/aggregation.js';
import { severityNumber } from '../store/logs.js';

const UNIT_MS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
const DURATION = /^(\d{1,7})([smhdw])$/;

/** Of a text that `duration` has let through. */
export function durationMs(text: string): number {
  const [, amount, unit] = DURATION.exec(text)!;
  return Number(amount) * UNIT_MS[unit];
}

function duration(min: string, max: string) {
  const allowed = `a duration from ${min} to ${max} (s, m, h, d, w)`;
  const fits = (text: string) =>
    DURATION.test(text) && durationMs(text) >= durationMs(min) && durationMs(text) <= durationMs(max);
  return z.string({ error: allowed }).refine(fits, { error: allowed }).meta({ description: allowed });
}

const KEY = 'a name of 1 to 200 printable characters';
const key = z
  .string({ error: KEY })
  .min(1, { error: KEY })
  .max(200, { error: KEY })
  .regex(PRINTABLE, { error: KEY });
const VALUE = 'text of 1000 characters at most';
const value = z.string({ error: VALUE }).max(1000, { error: VALUE }).regex(PRINTABLE, { error: VALUE });
const LIST = 'a list of 1 to 50 names';
const list = z.array(key, { error: LIST }).min(1, { error: LIST }).max(50, { error: LIST });
const FILTERS = 'attribute names (resource.<key> of the resource), each with a value or a list of values';
const filters = z.record(key, z.union([value, z.array(value).min(1).max(50)]), { error: FILTERS });
const milliseconds = z.number({ error: 'milliseconds' }).min(0, { error: 'milliseconds' });
const oneOf = <const T extends readonly string[]>(words: T) =>
  z.enum(words, { error: `one of ${words.join(', ')}` });
const listOf = <const T extends readonly string[]>(words: T) =>
  z.array(z.enum(words), { error: `a list of ${words.join(', ')}` }).min(1);
const TERMS = `words and "phrases", ${MAX_TERMS} at most`;
const SEVERITY = 'trace, debug, info, warn, error, fatal, or a number from 1 to 24';

const common = { service: list.optional(), filters: filters.optional() };
const metricsQuery = z.strictObject({
  signal: z.literal('metrics'),
  metric: key,
  agg: oneOf(AGGREGATIONS).optional(),
  ...common,
});
const logsQuery = z.strictObject({
  signal: z.literal('logs'),
  q: value.refine((given) => parseTerms(given) !== undefined, { error: TERMS }).optional(),
  severity: list.optional(),
  min_severity: z
    .string({ error: SEVERITY })
    .refine((given) => severityNumber(given) !== undefined, { error: SEVERITY })
    .optional(),
  ...common,
});
const tracesQuery = z.strictObject({
  signal: z.literal('traces'),
  figure: oneOf(SPAN_FIGURES),
  operation: list.optional(),
  kind: listOf(['UNSPECIFIED', 'INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER']).optional(),
  status: listOf(['UNSET', 'OK', 'ERROR']).optional(),
  min_duration_ms: milliseconds.optional(),
  max_duration_ms: milliseconds.optional(),
  ...common,
});
const QUERY = 'a question with signal: metrics, logs or traces';
const query = z.discriminatedUnion('signal', [metricsQuery, logsQuery, tracesQuery], { error: QUERY });
/** What is measured: of metrics an aggregate, of logs how many records there are, of traces a figure of the spans. */
export type AlertQuery = z.output<typeof query>;

const THRESHOLD = 'a number, or null';
const threshold = z.number({ error: THRESHOLD }).nullable();
const COMPARE = '{before: a duration, as: difference or percent}, or null';
const LABELS = '32 names at most, each with a text';
const CHANNELS = 'a list of ids of notification channels, 20 at most';
const MESSAGE = 'text of 1 to 2000 printable characters, or null';
const flag = z.boolean({ error: 'true or false' });
const GROUPS = 'a list of 5 attribute names at most, resource.<key> or service_name';

/** A rule as JSON and YAML have it. */
export const ruleBody = z.object({
  name: nameField,
  enabled: flag.default(true).describe('false: it is not evaluated, and its incidents end'),
  paused: flag.default(false).describe('true: it is not evaluated, and everything stays as it is'),
  query,
  divide_by: query.nullable().default(null).describe('the measure is query / divide_by, group by group'),
  compare_to: z
    .strictObject({ before: duration('1m', '30d'), as: oneOf(['difference', 'percent']) }, { error: COMPARE })
    .nullable()
    .default(null)
    .describe('the measure is the change since that time'),
  window: duration('10s', '1d').default('5m').describe('how much is looked at'),
  operator: oneOf(OPERATORS).default('>'),
  warning: threshold.default(null),
  critical: threshold.default(null),
  absent: oneOf(LEVELS).nullable().default(null).describe('fires at this level when there is no data'),
  for: duration('0s', '1d').default('0s').describe('how long it must hold before it fires'),
  keep_firing_for: duration('0s', '1d').default('0s').describe('how long it must be fine before it ends'),
  group_by: z
    .array(key, { error: GROUPS })
    .max(5, { error: GROUPS })
    .default([])
    .describe('an incident each'),
  no_data: oneOf(NO_DATA).default('ok').describe('of groups that do not fire; those that do stay firing'),
  interval: duration('10s', '1d').default('1m'),
  evaluation_delay: duration('0s', '1h').default('2s').describe('the window ends so long ago, for late data'),
  labels: z
    .record(key, value, { error: LABELS })
    .refine((given) => Object.keys(given).length <= 32, { error: LABELS })
    .default({}),
  message: z
    .string({ error: MESSAGE })
    .max(2000, { error: MESSAGE })
    .regex(/\S/, { error: MESSAGE })
    .regex(PRINTABLE_LINES, { error: MESSAGE })
    .nullable()
    .default(null)
    .describe('with {{rule}}, {{value}}, {{operator}}, {{threshold}}, {{level}}, {{labels.<name>}}'),
  channels: z
    .array(z.uuid({ error: CHANNELS }), { error: CHANNELS })
    .max(20, { error: CHANNELS })
    .default([]),
  cooldown: duration('0s', '7d').default('0s').describe('a group is not told again so soon after its end'),
  reminder: duration('1m', '30d')
    .nullable()
    .default(null)
    .describe('tells again each time, until acknowledged'),
});
export type RuleDefinition = z.output<typeof ruleBody>;

/**
 * The whole rule out of a body, with what it leaves out.
 *
 * @throws AppError INVALID_ARGUMENT that names each field and what is allowed
 */
export function parseRule(body: unknown): RuleDefinition {
  const rule = parseBody(ruleBody, body);
  const { absent, warning, critical, interval, compare_to, divide_by } = rule;
  if (absent === null && warning === null && critical === null)
    throw wrong('warning', null, 'a number, unless critical or absent is given');
  if (absent !== null && (warning !== null || critical !== null || compare_to || divide_by))
    throw wrong('absent', absent, 'null where there are thresholds, divide_by or compare_to');
  if (warning !== null && critical !== null && !isFurther(rule.operator, critical, warning))
    throw wrong('critical', critical, `beyond warning (${warning})`);
  if (rule.reminder !== null && durationMs(rule.reminder) < durationMs(interval))
    throw wrong('reminder', rule.reminder, `not less than interval (${interval})`);
  return rule;
}

/** Whatever breaches `critical` should breach `warning` too. */
function isFurther(operator: RuleDefinition['operator'], critical: number, warning: number): boolean {
  if (operator === '>' || operator === '>=') return critical >= warning;
  return operator === '<' || operator === '<=' ? critical <= warning : true;
}

const wrong = (field: string, given: unknown, allowed: string) =>
  new AppError('INVALID_ARGUMENT', `Bad body: ${field} must be ${allowed}.`, {
    details: [{ field, given, allowed }],
  });

/** What decides, of a rule. */
export function conditionOf(rule: RuleDefinition): Condition {
  return {
    operator: rule.operator,
    warning: rule.warning,
    critical: rule.critical,
    absent: rule.absent !== null,
    noData: rule.no_data,
    missingLevel: rule.absent ?? (rule.warning !== null ? 'warning' : 'critical'),
    forMs: durationMs(rule.for),
    keepFiringMs: durationMs(rule.keep_firing_for),
    intervalMs: durationMs(rule.interval),
  };
}

/** What is asked, and so what its states are about: a rule that changes it begins anew. */
export const questionOf = ({ query, divide_by, compare_to, window, group_by, absent }: RuleDefinition) =>
  JSON.stringify([query, divide_by, compare_to, window, group_by, absent !== null]);
