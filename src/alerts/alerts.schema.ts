import { z } from 'zod';
import type { Matcher } from '../alert-states/silences.js';
import { LEVELS } from '../alert-states/transition.js';
import {
  about,
  oneOf,
  PRINTABLE,
  PRINTABLE_LINES,
  pageFields,
  plain,
  text,
  timeFields,
} from '../http/request.schema.js';
import type { NoticeOutcome } from '../notices/deliveries.js';
import { NOTICE_KINDS } from '../notices/notice.js';
import type { Backtest } from './backtest.js';
import { type RuleDefinition, ruleBody } from './rule.schema.js';

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const uuid = text((given) => (UUID.test(given) ? given.toLowerCase() : undefined), 'an id');
const STATUSES = ['unknown', 'ok', 'pending', 'firing', 'error'] as const;
const STATES = ['open', 'acknowledged', 'resolved'] as const;

export const rulesQuery = z.object({
  status: about('How they stand', oneOf(...STATUSES)).optional(),
  name: about('Part of the name, in any case', plain).optional(),
  ...pageFields,
});

const HOURS = 'a number from 1 to 720';
const hours = z.number({ error: HOURS }).min(1, { error: HOURS }).max(720, { error: HOURS });
export const testBody = z.object({ hours: hours.optional().describe('how far back, 24 unless given') });
export const testRuleBody = testBody.extend({ rule: z.unknown().describe('the rule, as it would be saved') });
export const describedTest = testBody.extend({ rule: ruleBody });

export const incidentsQuery = z.object({
  state: about(
    'open: fires; acknowledged: fires, and somebody has it; resolved: over',
    oneOf(...STATES),
  ).optional(),
  severity: about('How bad', oneOf(...LEVELS)).optional(),
  rule_id: about('Of this rule', uuid).optional(),
  label: about(
    'With this label',
    text((given) => {
      const at = given.indexOf('=');
      return at > 0 ? { name: given.slice(0, at), value: given.slice(at + 1) } : undefined;
    }, 'name=value'),
  ).optional(),
  from: about('Begun at or after', timeFields.from.unwrap()).optional(),
  to: about('Begun before', timeFields.to.unwrap()).optional(),
  ...pageFields,
});

const LABEL = 'the name of a label, 200 printable characters at most';
const VALUE = 'text of 1000 characters at most, * stands for anything';
const MATCHERS = 'a list of {label, operator: = or !=, value}, 20 at most; an empty one is everything';
const COMMENT = 'text of 1 to 1000 printable characters';
const TIME = 'a time in ISO 8601';
const time = z.iso.datetime({ offset: true, error: TIME });
const matcher = z.strictObject({
  label: z
    .string({ error: LABEL })
    .min(1, { error: LABEL })
    .max(200, { error: LABEL })
    .regex(PRINTABLE, { error: LABEL }),
  operator: z.enum(['=', '!='], { error: '= or !=' }),
  value: z.string({ error: VALUE }).max(1000, { error: VALUE }).regex(PRINTABLE, { error: VALUE }),
}) satisfies z.ZodType<Matcher>;

export const silenceBody = z.object({
  matchers: z
    .array(matcher, { error: MATCHERS })
    .max(20, { error: MATCHERS })
    .describe('on the incident’s labels, and rule and severity'),
  comment: z
    .string({ error: COMMENT })
    .min(1, { error: COMMENT })
    .max(1000, { error: COMMENT })
    .regex(PRINTABLE_LINES, { error: COMMENT }),
  starts_at: time.optional().describe('now unless given'),
  ends_at: time,
  repeats: z
    .enum(['daily', 'weekly'], { error: 'daily, weekly or null' })
    .nullable()
    .optional()
    .describe('a maintenance window: the same time (UTC) again'),
  until: time.nullable().optional().describe('the last day of a maintenance window; null: none'),
});

export const silencesQuery = z.object({
  active: about('Those in force now, or the others', oneOf('true', 'false')).optional(),
  ...pageFields,
});

// What the routes answer, for their description.
const id = z.string().meta({ format: 'uuid' });
const date = z.custom<Date>().meta({ type: 'string', format: 'date-time' });

/** A rule as it is shown: what was given, what was left out, and how it stands. */
export interface Rule extends RuleDefinition {
  id: string;
  state: {
    status: (typeof STATUSES)[number];
    firing: number;
    pending: number;
    error: string | null;
    overdue: boolean;
    evaluated_at: Date | null;
  };
  created_by: string;
  created_at: Date;
  updated_at: Date;
}

export const ruleAnswer = ruleBody.extend({
  id,
  state: z.object({
    status: z.enum(STATUSES),
    firing: z.int().describe('groups'),
    pending: z.int().describe('groups'),
    error: z.string().nullable().describe('why it cannot be evaluated'),
    overdue: z
      .boolean()
      .describe('not evaluated for two intervals and a minute: too many rules, or no worker'),
    evaluated_at: date.nullable(),
  }),
  created_by: z.string(),
  created_at: date,
  updated_at: date,
}) satisfies z.ZodType<Rule>;

/** An incident as it is shown. */
export interface Incident {
  id: string;
  number: number;
  state: (typeof STATES)[number];
  rule_id: string;
  rule_name: string;
  severity: (typeof LEVELS)[number];
  labels: Record<string, string>;
  value: number | null;
  operator: string;
  threshold: number | null;
  summary: string;
  started_at: Date;
  updated_at: Date;
  gone_since: Date | null;
  acknowledged_at: Date | null;
  acknowledged_by: string | null;
  resolved_at: Date | null;
  resolved_by: string | null;
}

/** What happened to it. Of `told`: the notice, and how it fared. */
export interface IncidentEvent {
  at: Date;
  kind: string;
  severity: string | null;
  value: number | null;
  notice_id: string | null;
  notice_kind: string | null;
  outcome: NoticeOutcome | null;
  channels: { channel_id: string; channel_name: string; channel_kind: string; state: string }[];
  done_by: string | null;
}

export const incidentAnswer = z.object({
  id,
  number: z.int().describe('in the tenant'),
  state: z.enum(STATES),
  rule_id: id,
  rule_name: z.string(),
  severity: z.enum(LEVELS),
  labels: z.record(z.string(), z.string()),
  value: z.number().nullable().describe('null: there was no data'),
  operator: z.string(),
  threshold: z.number().nullable(),
  summary: z.string(),
  started_at: date,
  updated_at: date,
  gone_since: date.nullable().describe('it fires, and its data no longer comes'),
  acknowledged_at: date.nullable(),
  acknowledged_by: z.string().nullable(),
  resolved_at: date.nullable(),
  resolved_by: z.string().nullable().describe('recovery, rule, or the id of the user or key'),
}) satisfies z.ZodType<Incident>;

export const incidentWithTimeline = incidentAnswer.extend({
  timeline: z.array(
    z.object({
      at: date,
      kind: z.string().describe('opened, raised, lowered, gone, back, value, told, acknowledged, resolved'),
      severity: z.string().nullable(),
      value: z.number().nullable(),
      notice_id: id.nullable(),
      notice_kind: z.string().nullable().describe(NOTICE_KINDS.join(', ')),
      outcome: z.enum(['none', 'pending', 'all_sent', 'some_failed', 'all_failed']).nullable(),
      channels: z.array(
        z.object({
          channel_id: id,
          channel_name: z.string(),
          channel_kind: z.string(),
          state: z.string(),
        }),
      ),
      done_by: z.string().nullable(),
    }),
  ),
}) satisfies z.ZodType<Incident & { timeline: IncidentEvent[] }>;

/** A silence as it is shown. */
export interface SilenceShown {
  id: string;
  matchers: Matcher[];
  comment: string;
  starts_at: Date;
  ends_at: Date;
  repeats: 'daily' | 'weekly' | null;
  until: Date | null;
  active: boolean;
  created_by: string;
  created_at: Date;
}

export const silenceAnswer = z.object({
  id,
  matchers: z.array(matcher),
  comment: z.string(),
  starts_at: date,
  ends_at: date,
  repeats: z.enum(['daily', 'weekly']).nullable(),
  until: date.nullable(),
  active: z.boolean().describe('in force now'),
  created_by: z.string(),
  created_at: date,
}) satisfies z.ZodType<SilenceShown>;

const figures = {
  fired: z.int(),
  notifications: z.int().describe('to each channel'),
  firing_seconds: z.number(),
  longest_seconds: z.number(),
  under_three_minutes: z.int().describe('ended within three minutes'),
  open: z.int().describe('fire still at the end'),
};
export const backtestAnswer = z.object({
  from: z.string(),
  to: z.string(),
  evaluated_every: z.number().describe('seconds; more than the interval where the time is long'),
  evaluations: z.int(),
  failed: z.int(),
  error: z.string().nullable(),
  result: z.object(figures),
  other_for: z.array(z.object({ ...figures, for: z.string() })),
  groups: z.array(
    z.object({
      labels: z.record(z.string(), z.string()),
      points: z.array(z.tuple([z.number(), z.number().nullable()])),
      changes: z.array(z.tuple([z.number(), z.string()])),
      firing_seconds: z.number(),
    }),
  ),
  group_count: z.int(),
}) satisfies z.ZodType<Backtest>;
