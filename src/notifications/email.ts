import { z } from 'zod';
import type { Notice, NoticeIncident } from '../notices/notice.js';
import { plainHost } from '../outbound/address-rules.js';
import { type Outside, sendErrorOf } from '../outbound/outside.js';
import { SendError } from '../outbound/send-error.js';
import type { ChannelKind, Message, Taken } from './channel-kind.js';
import { colourOf, factsOf, fit, headlineOf, oneLine, placeOf, titleOf } from './message.js';

const MAX_RECIPIENTS = 50;
const MAX_SUBJECT = 200;
const HOST_ALLOWED = 'the name or address of a mail server';
const PORT_ALLOWED = 'a port, usually 587 (starttls), 465 (tls) or 25';
const ADDRESS_ALLOWED = 'an email address';
const TO_ALLOWED = `a list of 1 to ${MAX_RECIPIENTS} email addresses`;
const LOGIN_ALLOWED = '512 characters at most, none of them a control character';

const mailbox = z.email({ error: ADDRESS_ALLOWED }).max(254, { error: ADDRESS_ALLOWED });
const login = z
  .string({ error: LOGIN_ALLOWED })
  .min(1, { error: LOGIN_ALLOWED })
  .max(512, { error: LOGIN_ALLOWED })
  .regex(/^\P{Cc}*$/u, { error: LOGIN_ALLOWED });

const settings = z
  .strictObject({
    host: z
      .string({ error: HOST_ALLOWED })
      .max(253, { error: HOST_ALLOWED })
      .refine((host) => plainHost(host) !== undefined, { error: HOST_ALLOWED }),
    port: z.int({ error: PORT_ALLOWED }).min(1, { error: PORT_ALLOWED }).max(65_535, { error: PORT_ALLOWED }),
    /** `none`: only inside NOTIFY_ALLOW_NETWORKS. */
    security: z.enum(['starttls', 'tls', 'none'], { error: 'starttls, tls or none' }),
    username: login.optional(),
    password: login.optional(),
    from: mailbox,
    to: z
      .array(mailbox, { error: TO_ALLOWED })
      .min(1, { error: TO_ALLOWED })
      .max(MAX_RECIPIENTS, { error: TO_ALLOWED }),
  })
  .refine(({ username, password }) => (username === undefined) === (password === undefined), {
    path: ['password'],
    error: 'given together with username, or neither',
  });
type Settings = z.output<typeof settings>;

const ENTITIES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
const html = (text: string) => text.replace(/[&<>"']/g, (character) => ENTITIES[character]);

/** Subject, plain text and HTML. Nothing in it is loaded from elsewhere, and no text of others becomes markup or a header. */
export function renderEmail(notice: Notice) {
  return {
    subject: fit(titleOf(notice), MAX_SUBJECT),
    text: textOf(notice),
    html: htmlOf(notice),
  };
}

function textOf(notice: Notice): string {
  const incidents = notice.incidents.map((incident) => {
    const facts = factsOf(incident).map(([name, value]) => `  ${name}: ${oneLine(value)}`);
    return [headlineOf(incident), ...facts, ...(incident.url ? [`  ${incident.url}`] : [])].join('\n');
  });
  const link = notice.url === undefined ? [] : [notice.url];
  return `${[titleOf(notice), notice.summary, ...incidents, ...link, placeOf(notice)].join('\n\n')}\n`;
}

function htmlOf(notice: Notice): string {
  const colour = `#${colourOf(notice).toString(16).padStart(6, '0')}`;
  const link = notice.url === undefined ? '' : `<p><a href="${html(notice.url)}">Open</a></p>\n`;
  return `<!DOCTYPE html>
<html><body style="font-family:sans-serif;color:#222">
<h2 style="border-left:6px solid ${colour};padding-left:10px">${html(titleOf(notice))}</h2>
<p style="white-space:pre-line">${html(notice.summary)}</p>
${notice.incidents.map(incidentHtml).join('')}${link}<p style="color:#777">${html(placeOf(notice))}</p>
</body></html>
`;
}

function incidentHtml(incident: NoticeIncident): string {
  const rows = factsOf(incident)
    .map(([name, value]) => `<tr><th align="left">${name}</th><td>${html(value)}</td></tr>`)
    .join('');
  const headline = html(headlineOf(incident));
  const title = incident.url === undefined ? headline : `<a href="${html(incident.url)}">${headline}</a>`;
  return `<h3>${title}</h3>\n<table cellpadding="4">${rows}</table>\n`;
}

/** Mails of one incident are a thread; the same delivery has the same id at each try, so that a reader's program sees one. */
function headersOf({ from }: Settings, { notice, deliveryId }: Message) {
  const domain = from.slice(from.lastIndexOf('@') + 1);
  const [first] = notice.incidents;
  const thread = first ? { references: `<incident-${first.id}@${domain}>` } : {};
  return {
    messageId: `<${deliveryId}@${domain}>`,
    ...thread,
    headers: {
      'Auto-Submitted': 'auto-generated',
      'X-TelemetryFlow-Notice': notice.id,
    },
  };
}

async function sendMail(
  given: Settings,
  message: Message,
  outside: Outside,
  signal: AbortSignal,
): Promise<Taken> {
  const { host, port, security, username, password, from, to } = given;
  const connection = await outside.connect({ host, port, isPlain: security === 'none' }, signal);
  const { createTransport } = await import('nodemailer');
  const transport = createTransport({
    host: plainHost(host),
    port,
    connection,
    secure: security === 'tls',
    requireTLS: security === 'starttls',
    ignoreTLS: security === 'none',
    tls: outside.tls(host),
    socketCloseTimeout: 0,
    maxResponseSize: 64 * 1024,
    ...(username === undefined ? {} : { auth: { user: username, pass: password } }),
  });
  try {
    const { response, rejected } = await transport.sendMail({
      ...renderEmail(message.notice),
      ...headersOf(given, message),
      date: new Date(message.nowMs),
      from: { name: 'TelemetryFlow', address: from },
      to,
      signal,
      // What is in a message never makes us read a file or a URL.
      disableFileAccess: true,
      disableUrlAccess: true,
    });
    const status = Number.parseInt(response, 10) || 250;
    // The others have it: trying again would tell them twice.
    return rejected.length === 0
      ? { status }
      : { status, remark: `${rejected.length} of ${to.length} recipients were refused.` };
  } catch (error) {
    throw smtpErrorOf(error, signal);
  } finally {
    connection.destroy();
    transport.close();
  }
}

/** Replies of 500 and more are final, those of 400 and more pass: RFC 5321, 4.2.1. What the server says beside is not shown. */
function smtpErrorOf(error: unknown, signal: AbortSignal): SendError {
  if (signal.aborted) return sendErrorOf(error, signal);
  const {
    responseCode: status,
    code,
    message,
  } = error as { responseCode?: number; code?: string; message: string };
  if (code === 'ETLS')
    return new SendError('The mail server offers no encryption that can be trusted.', { cause: error });
  if (status === undefined) {
    // The library puts its own code in place of the one that says so.
    if (!/certificate/i.test(message)) return sendErrorOf(error, signal);
    return new SendError('The mail server’s certificate is not valid for it.', { cause: error });
  }
  const what = code === 'EAUTH' ? 'refused the login' : 'refused the message';
  return new SendError(`The mail server ${what} with ${status}.`, {
    status,
    isPermanent: status >= 500,
    cause: error,
  });
}

/** HTML and text over SMTP. */
export const email: ChannelKind<Settings> = {
  settings,
  secrets: ['password'],
  address: ['host', 'port', 'security'],
  destination: ({ host, port, security }) => ({ host, port, isPlain: security === 'none' }),
  send: sendMail,
};
