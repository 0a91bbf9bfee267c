import type { Notice } from '../notices/notice.js';
import { incomingHook } from './incoming-hook.js';
import { colourOf, factsOf, fit, headlineOf, placeOf, shownOf, titleOf } from './message.js';

// https://docs.discord.com/developers/resources/message#embed-object-embed-limits: title and field name 256, description 4096,
// field value 1024, footer 2048, and 6000 characters together: 256 + 1000 + 10 * (120 + 300) + 20 + 200 are less.
const MAX_TITLE = 256;
const MAX_SUMMARY = 1000;
const MAX_NAME = 120;
const MAX_VALUE = 300;
const MAX_FOOTER = 200;

/** Every sign of Discord's Markdown, mentions, timestamps and links included; a backslash before a sign makes it only that. */
const plainly = (character: string) =>
  /[\\*_~`|>#\-+.[\]()<@:!/]/.test(character) ? `\\${character}` : character;

/** The message for a webhook: https://docs.discord.com/developers/resources/webhook#execute-webhook */
export function renderDiscord(notice: Notice) {
  const { incidents, rest } = shownOf(notice);
  const fields = incidents.map((incident) => ({
    name: fit(headlineOf(incident), MAX_NAME, plainly),
    value: fit(
      factsOf(incident)
        .map(([name, value]) => `${name}: ${value}`)
        .join('\n'),
      MAX_VALUE,
      plainly,
    ),
    inline: false,
  }));
  // A field without a name is refused; this one is a space that shows nothing.
  if (rest) fields.push({ name: '\u200b', value: shortly(rest), inline: false });
  const embed = {
    title: fit(titleOf(notice), MAX_TITLE, plainly),
    description: fit(notice.summary, MAX_SUMMARY, plainly),
    color: colourOf(notice),
    timestamp: notice.at,
    fields,
    footer: { text: fit(placeOf(notice), MAX_FOOTER) },
    ...(notice.url === undefined ? {} : { url: notice.url }),
  };
  // Nobody is called, whatever a label says.
  return { embeds: [embed], allowed_mentions: { parse: [] } };
}

const shortly = (text: string) => fit(text, MAX_VALUE, plainly);

export const discord = incomingHook(renderDiscord);
