import type { Notice } from '../notices/notice.js';
import { incomingHook } from './incoming-hook.js';
import { factsOf, fit, headlineOf, placeOf, shownOf, titleOf } from './message.js';

// https://docs.slack.dev/reference/block-kit/blocks/header-block and section-block
const MAX_HEADER = 150;
const MAX_TEXT = 3000;
const MAX_FIELD = 2000;

/** https://docs.slack.dev/messaging/formatting-message-text: these three, and no others; `<!channel>` is then only text. */
const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' };
const plainly = (character: string) => ENTITIES[character] ?? character;

/** Text that comes from others is never mrkdwn: in plain text nothing is a mention, a link or bold. */
const plain = (text: string, max: number) => ({
  type: 'plain_text',
  text: fit(text, max, plainly) || '-',
  emoji: false,
});
const section = (text: string) => ({ type: 'section', text: plain(text, MAX_TEXT) });

/** The message for an incoming webhook: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks */
export function renderSlack(notice: Notice) {
  const { incidents, rest } = shownOf(notice);
  const blocks: object[] = [
    { type: 'header', text: plain(titleOf(notice), MAX_HEADER) },
    section(notice.summary),
  ];
  for (const incident of incidents) {
    const fields = factsOf(incident).map(([name, value]) => plain(`${name}\n${value}`, MAX_FIELD));
    // Of a single one it is the notice's own, below.
    const link = notice.incidents.length > 1 && incident.url ? { accessory: button(incident.url) } : {};
    blocks.push({ type: 'divider' }, { ...section(headlineOf(incident)), fields, ...link });
  }
  if (rest) blocks.push(section(rest));
  if (notice.url !== undefined) blocks.push({ type: 'actions', elements: [button(notice.url)] });
  blocks.push({ type: 'context', elements: [plain(placeOf(notice), MAX_FIELD)] });
  // Shown where blocks are not, as in the notification of a phone.
  return { text: fit(titleOf(notice), MAX_TEXT, plainly), blocks };
}

const button = (url: string) => ({ type: 'button', text: plain('Open', MAX_HEADER), url });

export const slack = incomingHook(renderSlack);
