import { createHmac } from 'node:crypto';
import { z } from 'zod';
import { destinationOf, post } from '../outbound/safe-http.js';
import type { ChannelKind, Message } from './channel-kind.js';
import { postUrl } from './incoming-hook.js';
import { messageIdOf } from './message.js';

const SECRET_ALLOWED = 'text of 24 to 512 characters, or whsec_ and the base64 of 24 to 64 bytes';
const PREFIX = 'whsec_';
const MAX_HEADERS = 20;
const HEADERS_ALLOWED = `up to ${MAX_HEADERS} headers, none of which the message has itself`;
const VALUE_ALLOWED = 'printable ASCII, 4096 characters at most';
/** What the message says itself, or how it is sent. */
const OURS =
  /^(host|connection|content-.*|transfer-encoding|te|trailer|upgrade|expect|keep-alive|proxy-.*|idempotency-key|webhook-.*)$/i;
const TOKEN = /^[\w!#$%&'*+.^`|~-]{1,128}$/;

const settings = z.strictObject({
  url: postUrl,
  /** Signs each message; without one it is not signed. */
  secret: z
    .string({ error: SECRET_ALLOWED })
    .max(512, { error: SECRET_ALLOWED })
    .refine((text) => keyOf(text).length >= 24, { error: SECRET_ALLOWED })
    .optional(),
  headers: z
    .record(
      z.string(),
      z
        .string({ error: VALUE_ALLOWED })
        .max(4096, { error: VALUE_ALLOWED })
        .regex(/^[\x20-\x7e]*$/, { error: VALUE_ALLOWED }),
      { error: HEADERS_ALLOWED },
    )
    .refine(
      (headers) => {
        const names = Object.keys(headers);
        return names.length <= MAX_HEADERS && names.every((name) => TOKEN.test(name) && !OURS.test(name));
      },
      { error: HEADERS_ALLOWED },
    )
    .optional(),
});
type Settings = z.output<typeof settings>;

/** https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md writes keys as whsec_<base64>. */
function keyOf(secret: string): Buffer {
  return secret.startsWith(PREFIX) ? Buffer.from(secret.slice(PREFIX.length), 'base64') : Buffer.from(secret);
}

/** `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`, as Standard Webhooks has it. */
export function signatureOf(secret: string, id: string, timestampSeconds: number, body: string): string {
  const hmac = createHmac('sha256', keyOf(secret)).update(`${id}.${timestampSeconds}.${body}`);
  return `v1,${hmac.digest('base64')}`;
}

/** The request, signed for this moment. The body is the notice as it was written down, under a version of its format. */
export function renderWebhook(
  { secret, headers = {} }: Settings,
  { notice, channelId, deliveryId, nowMs }: Message,
) {
  const id = messageIdOf(notice, channelId);
  const timestamp = Math.floor(nowMs / 1000);
  const body = JSON.stringify({ version: 1, delivery_id: deliveryId, ...notice });
  const own: Record<string, string> = {
    'content-type': 'application/json; charset=utf-8',
    'idempotency-key': id,
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    ...(secret === undefined ? {} : { 'webhook-signature': signatureOf(secret, id, timestamp, body) }),
  };
  return { headers: { 'user-agent': 'TelemetryFlow', ...headers, ...own }, body };
}

/** JSON by POST, signed as https://www.standardwebhooks.com has it, so that receivers can check it with a library. */
export const webhook: ChannelKind<Settings> = {
  settings,
  secrets: ['url', 'secret', 'headers'],
  address: ['url'],
  destination: ({ url }) => destinationOf(url),
  async send(given, message, outside, signal) {
    return { status: await post(outside, { url: given.url, ...renderWebhook(given, message) }, signal) };
  },
};
