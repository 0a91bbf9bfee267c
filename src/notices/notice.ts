import { z } from 'zod';

/**
 * What a notice tells. `gone`: the data of a firing incident no longer comes. `error`: a rule cannot be evaluated (`resolved`
 * without incidents: it can again). `test`: somebody wants to see whether a channel works.
 */
export const NOTICE_KINDS = [
  'firing',
  'resolved',
  'gone',
  'reminder',
  'error',
  'acknowledged',
  'test',
] as const;
export type NoticeKind = (typeof NOTICE_KINDS)[number];

export const SEVERITIES = ['warning', 'critical'] as const;

/** Incidents that are told together are no more than this; what groups them makes several notices of more. */
export const MAX_INCIDENTS = 50;

const named = z.strictObject({ id: z.uuid(), name: z.string().max(200) });
const time = z.iso.datetime();
/** Some receivers refuse a message without text. */
const summary = z.string().regex(/\S/, 'text').max(4000);
/** Shown as a link, so nothing but the web. */
const url = z.url({ protocol: /^https?$/ }).max(2000);

/** One incident as it was when it was told; times are ISO 8601 in UTC. */
export const noticeIncident = z.strictObject({
  id: z.uuid(),
  number: z.int().min(1).optional(),
  severity: z.enum(SEVERITIES),
  started_at: time,
  resolved_at: time.optional(),
  /** Of the group that it is about, and of the rule. */
  labels: z.record(z.string(), z.string()),
  /** What was measured, and what it was held against: `value operator threshold` is why it fires. Null: nothing was. */
  value: z.number().nullable(),
  operator: z.string().max(16),
  threshold: z.number().nullable(),
  /** The rule's template, filled in. */
  summary,
  url: url.optional(),
});
export type NoticeIncident = z.output<typeof noticeIncident>;

/** What is told, once, to one or more channels. Receivers get it at least once, and know it again by its id. */
export const notice = z.strictObject({
  /** The same for each channel and each try. */
  id: z.uuid(),
  kind: z.enum(NOTICE_KINDS),
  /** The highest of its incidents. */
  severity: z.enum(SEVERITIES),
  organization: named,
  workspace: named,
  tenant: named,
  /** Absent in a test. */
  rule: named.optional(),
  /** When what it tells happened. */
  at: time,
  /** The whole in a sentence or two. */
  summary,
  url: url.optional(),
  incidents: z.array(noticeIncident).max(MAX_INCIDENTS),
});
export type Notice = z.output<typeof notice>;
