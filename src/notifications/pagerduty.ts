import { z } from 'zod';
import type { Notice, NoticeIncident, NoticeKind } from '../notices/notice.js';
import { destinationOf, post } from '../outbound/safe-http.js';
import type { ChannelKind } from './channel-kind.js';
import { postUrl } from './incoming-hook.js';
import { fit, oneLine, placeOf, titleOf } from './message.js';

const KEY_ALLOWED = 'the 32 letters and digits of an Events API v2 integration key';
/** Of `payload.summary`; `dedup_key` may have 255: https://developer.pagerduty.com/docs/events-api-v2/trigger-events */
const MAX_SUMMARY = 1024;
/** Events of one message that are on their way together. */
const TOGETHER = 5;

const settings = z.strictObject({
  routing_key: z.string({ error: KEY_ALLOWED }).regex(/^[0-9a-zA-Z]{32}$/, { error: KEY_ALLOWED }),
  /** https://events.pagerduty.com/v2/enqueue, or https://events.eu.pagerduty.com/v2/enqueue for accounts in the EU. */
  url: postUrl,
});
type Settings = z.output<typeof settings>;

/** As the API takes it. */
interface Event {
  routing_key: string;
  event_action: Action;
  dedup_key: string;
  payload?: { summary: string; timestamp: string; severity: string; source: string; custom_details?: object };
  client?: string;
  client_url?: string;
}
type Action = 'trigger' | 'acknowledge' | 'resolve';
/** `gone` and `reminder` tell of an incident that is there already: the same key updates it. */
const ACTIONS: Record<NoticeKind, Action> = {
  firing: 'trigger',
  gone: 'trigger',
  reminder: 'trigger',
  error: 'trigger',
  acknowledged: 'acknowledge',
  resolved: 'resolve',
  test: 'trigger',
};

/**
 * One event for each incident, known by its id: what a receiver gets twice changes nothing there. A rule that fails is an
 * event of its own, known by the rule's id. A test is opened as `info` and resolved at once, so that it calls nobody for long.
 *
 * Fields: https://developer.pagerduty.com/docs/events-api-v2/trigger-events
 */
export function renderPagerDuty(routingKey: string, notice: Notice): Event[] {
  const { kind, incidents, rule } = notice;
  const event = (action: Action, key: string, payload?: Event['payload']): Event => ({
    routing_key: routingKey,
    event_action: action,
    dedup_key: key,
    ...(action === 'trigger' && payload ? { payload, client: 'TelemetryFlow', ...linkOf(notice.url) } : {}),
  });
  if (kind === 'test') {
    const key = `telemetryflow-test-${notice.id}`;
    return [event('trigger', key, payloadOf(notice, 'info')), event('resolve', key)];
  }
  if (incidents.length === 0)
    return [event(ACTIONS[kind], `telemetryflow-rule-${rule?.id ?? notice.id}`, payloadOf(notice, 'error'))];
  return incidents.map((incident) => ({
    ...event(ACTIONS[kind], incident.id, incidentPayload(notice, incident)),
    ...(ACTIONS[kind] === 'trigger' ? linkOf(incident.url ?? notice.url) : {}),
  }));
}

const linkOf = (url: string | undefined) => (url === undefined ? {} : { client_url: url });

function payloadOf(notice: Notice, severity: string) {
  return {
    summary: fit(oneLine(`${titleOf(notice)}: ${notice.summary}`), MAX_SUMMARY),
    timestamp: notice.at,
    severity,
    source: placeOf(notice),
  };
}

function incidentPayload(notice: Notice, incident: NoticeIncident) {
  const { severity, started_at, labels, value, operator, threshold, number, summary } = incident;
  return {
    summary: fit(oneLine(`${notice.rule?.name ?? 'TelemetryFlow'}: ${summary}`), MAX_SUMMARY),
    timestamp: started_at,
    severity,
    source: placeOf(notice),
    custom_details: {
      kind: notice.kind,
      ...(number === undefined ? {} : { number }),
      labels,
      value,
      operator,
      threshold,
    },
  };
}

/** The Events API v2 of PagerDuty, and of whatever else takes it. */
export const pagerduty: ChannelKind<Settings> = {
  settings,
  secrets: ['routing_key'],
  address: ['url'],
  destination: ({ url }) => destinationOf(url),
  async send({ routing_key, url }, { notice }, outside, signal) {
    const events = renderPagerDuty(routing_key, notice);
    const headers = { 'content-type': 'application/json' };
    const send = (event: object) => post(outside, { url, headers, body: JSON.stringify(event) }, signal);
    // A test's two events follow each other; those of incidents have nothing to do with one another.
    const step = notice.kind === 'test' ? 1 : TOGETHER;
    let status = 0;
    for (let at = 0; at < events.length; at += step)
      [status] = await Promise.all(events.slice(at, at + step).map(send));
    return { status };
  },
};
