import type { Notice } from '../notices/notice.js';
import { incomingHook } from './incoming-hook.js';
import { factsOf, fit, headlineOf, placeOf, SHOWN_INCIDENTS, shownOf, titleOf } from './message.js';

/**
 * A message of a workflow has about 28 KB (https://learn.microsoft.com/connectors/teams, known issues and limitations), and it is not said
 * of what: with so many bytes of JSON it has room for what is put around it. One incident always fits.
 */
const MAX_BYTES = 21_000;
const MAX_TITLE = 200;
const MAX_SUMMARY = 1200;
const MAX_HEADLINE = 160;
const MAX_VALUE = 200;

const COLOURS = { critical: 'Attention', warning: 'Warning' } as const;

/**
 * A TextRun takes no Markdown, where a TextBlock and a FactSet do, so text that comes from others is in these alone:
 * https://learn.microsoft.com/adaptive-cards/authoring-cards/text-features
 */
const run = (text: string, max: number, style: object = {}) => ({
  type: 'RichTextBlock',
  inlines: [{ type: 'TextRun', text: fit(text, max) || '-', ...style }],
});
const fact = ([name, value]: [string, string]) => ({
  type: 'RichTextBlock',
  spacing: 'None',
  inlines: [
    { type: 'TextRun', text: `${name}: `, weight: 'Bolder' },
    { type: 'TextRun', text: fit(value, MAX_VALUE) },
  ],
});

/**
 * The message for a workflow that begins with "When a Teams webhook request is received":
 * https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
 */
export function renderTeams(notice: Notice) {
  for (let shown = SHOWN_INCIDENTS; ; shown--) {
    const message = messageOf(notice, shown);
    if (shown === 1 || Buffer.byteLength(JSON.stringify(message)) <= MAX_BYTES) return message;
  }
}

function messageOf(notice: Notice, shown: number) {
  const { incidents, rest } = shownOf(notice, shown);
  const color = notice.kind === 'resolved' ? 'Good' : COLOURS[notice.severity];
  const title = { weight: 'Bolder', size: 'Large', color };
  const body: object[] = [run(titleOf(notice), MAX_TITLE, title), run(notice.summary, MAX_SUMMARY)];
  for (const incident of incidents) {
    const items = [
      run(headlineOf(incident), MAX_HEADLINE, { weight: 'Bolder' }),
      ...factsOf(incident).map(fact),
    ];
    const link = notice.incidents.length > 1 && incident.url ? { selectAction: open(incident.url) } : {};
    body.push({ type: 'Container', separator: true, items, ...link });
  }
  if (rest) body.push(run(rest, MAX_VALUE));
  body.push(run(placeOf(notice), MAX_TITLE, { size: 'Small', isSubtle: true }));
  const content = {
    $schema: 'http://adaptivecards.io/schemas/adaptive-card.json',
    type: 'AdaptiveCard',
    version: '1.4',
    body,
    ...(notice.url === undefined ? {} : { actions: [open(notice.url)] }),
  };
  const contentType = 'application/vnd.microsoft.card.adaptive';
  return { type: 'message', attachments: [{ contentType, contentUrl: null, content }] };
}

const open = (url: string) => ({ type: 'Action.OpenUrl', title: 'Open', url });

export const teams = incomingHook(renderTeams);
