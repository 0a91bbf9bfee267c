import { z } from 'zod';
import type { Notice } from '../notices/notice.js';
import { destinationOf, post } from '../outbound/safe-http.js';
import type { ChannelKind } from './channel-kind.js';
import { messageIdOf } from './message.js';

const URL_ALLOWED =
  'a URL starting with https:// (http:// inside NOTIFY_ALLOW_NETWORKS), without user and password';

/** A URL that messages are posted to. */
export const postUrl = z
  .string({ error: URL_ALLOWED })
  .refine((text) => destinationOf(text) !== undefined, { error: URL_ALLOWED });

const settings = z.strictObject({ url: postUrl });

/** A kind of channel that is all in its URL, which so is its secret: who knows it can post there. */
export function incomingHook(render: (notice: Notice) => unknown): ChannelKind<z.output<typeof settings>> {
  return {
    settings,
    secrets: ['url'],
    address: ['url'],
    destination: ({ url }) => destinationOf(url),
    async send({ url }, { notice, channelId }, outside, signal) {
      const headers = {
        'content-type': 'application/json; charset=utf-8',
        'idempotency-key': messageIdOf(notice, channelId),
      };
      return { status: await post(outside, { url, headers, body: JSON.stringify(render(notice)) }, signal) };
    },
  };
}
