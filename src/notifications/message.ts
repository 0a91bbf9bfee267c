import type { Notice, NoticeIncident, NoticeKind } from '../notices/notice.js';

const WORDS: Record<NoticeKind, string> = {
  firing: 'Firing',
  resolved: 'Resolved',
  gone: 'No data',
  reminder: 'Still firing',
  error: 'Rule fails',
  acknowledged: 'Acknowledged',
  test: 'Test',
};

/** Messages for people name so many incidents at most; the rest is counted. */
export const SHOWN_INCIDENTS = 10;

/** The colour that says how bad it is, as 0xRRGGBB. */
export function colourOf({ kind, severity }: Notice): number {
  if (kind === 'resolved') return 0x2e7d32;
  if (kind === 'test' || kind === 'acknowledged') return 0x1565c0;
  return severity === 'critical' ? 0xc62828 : 0xef6c00;
}

/** One line: `Firing (critical): High error rate, 3 incidents`. */
export function titleOf({ kind, severity, rule, incidents }: Notice): string {
  const how = kind === 'test' || kind === 'resolved' ? WORDS[kind] : `${WORDS[kind]} (${severity})`;
  const many = incidents.length > 1 ? `, ${incidents.length} incidents` : '';
  return oneLine(`${how}: ${rule?.name ?? 'TelemetryFlow'}${many}`);
}

/** Where it comes from: `Acme / Production / Shop`. */
export function placeOf({ organization, workspace, tenant }: Notice): string {
  return oneLine(`${organization.name} / ${workspace.name} / ${tenant.name}`);
}

/** What people want to know of an incident, as names and values. */
export function factsOf(incident: NoticeIncident): [name: string, value: string][] {
  const { labels, value, operator, threshold, started_at, resolved_at } = incident;
  const facts: [string, string][] = [];
  const text = Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(', ');
  if (text !== '') facts.push(['Labels', text]);
  if (value !== null)
    facts.push(['Value', threshold === null ? String(value) : `${value} ${operator} ${threshold}`]);
  facts.push(['Started', started_at]);
  if (resolved_at !== undefined) facts.push(['Resolved', resolved_at]);
  return facts;
}

/** How one incident among several is called: `#12 (critical) High error rate on web-1`. */
export function headlineOf({ number, severity, summary }: NoticeIncident): string {
  return oneLine(`${number === undefined ? '' : `#${number} `}(${severity}) ${summary}`);
}

/** Those that are shown, and a line on those that are not. */
export function shownOf(
  { incidents }: Notice,
  count = SHOWN_INCIDENTS,
): {
  incidents: readonly NoticeIncident[];
  rest: string | undefined;
} {
  const hidden = incidents.length - count;
  return {
    incidents: incidents.slice(0, count),
    rest: hidden > 0 ? `And ${hidden} more.` : undefined,
  };
}

/** By which a receiver knows a notice again, however often it comes: of the notice and the channel. */
export const messageIdOf = (notice: Notice, channelId: string) => `${notice.id}_${channelId}`;

/** Line ends and control characters become spaces, so that text stays in its line, and a header in its header. */
export const oneLine = (text: string) => text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ').trim();

const ELLIPSIS = '…';

/**
 * Text in a format's own writing, cut to `max` UTF-16 units of it; neither a character nor how it is written is cut in two.
 *
 * @param write how one character is written there
 */
export function fit(
  text: string,
  max: number,
  write: (character: string) => string = (same) => same,
): string {
  const pieces: string[] = [];
  let length = 0;
  /** So many pieces fit together with an ellipsis. */
  let whole = 0;
  for (const character of text) {
    const piece = write(character);
    length += piece.length;
    if (length > max) return `${pieces.slice(0, whole).join('')}${ELLIPSIS}`;
    pieces.push(piece);
    if (length <= max - ELLIPSIS.length) whole = pieces.length;
  }
  return pieces.join('');
}
