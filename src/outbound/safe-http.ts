import { type IncomingMessage, request } from 'node:http';
import type { Socket } from 'node:net';
import { withoutBrackets } from './address-rules.js';
import { type Destination, type Outside, sendErrorOf } from './outside.js';
import { SendError } from './send-error.js';

export interface Post {
  url: string;
  headers: Readonly<Record<string, string>>;
  body: string;
}

/** Of an answer no more is read, and what is read is thrown away: a receiver chooses what it says. */
const MAX_ANSWER_BYTES = 64 * 1024;
/** An answer whose status is known may take so long to end. */
const MAX_ANSWER_MS = 1000;
/** A receiver that wants a longer pause is tried again after this one. */
const MAX_PAUSE_MS = 3_600_000;
const MAX_URL = 4096;
/** Faults that pass: time-out, too early, too many. */
const PASSING = new Set([408, 425, 429]);

/**
 * Where a URL leads.
 *
 * @returns undefined when nothing is sent to such a URL: no http or https, a user or password in it
 */
export function destinationOf(text: string): (Destination & { url: URL }) | undefined {
  if (text.length > MAX_URL || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  const isPlain = url.protocol === 'http:';
  if ((!isPlain && url.protocol !== 'https:') || url.username !== '' || url.password !== '') return undefined;
  const port = Number(url.port) || (isPlain ? 80 : 443);
  return { url, host: withoutBrackets(url.hostname), port, isPlain };
}

/**
 * Sends one POST, and says with which status it was taken. Redirects are not followed: they are failures.
 *
 * @returns a status from 200 to 299
 * @throws SendError for any other status, and when the receiver cannot be reached or does not answer before the signal fires;
 *   RefusedError when it may not be reached
 */
export async function post(
  outside: Outside,
  { url: text, headers, body }: Post,
  signal: AbortSignal,
): Promise<number> {
  const destination = destinationOf(text);
  if (!destination)
    throw new SendError('The receiver’s URL is not one that is sent to.', { isPermanent: true });
  const { url, host, isPlain } = destination;
  const plain = await outside.connect(destination, signal);
  const socket = isPlain ? plain : await outside.secure(plain, host, signal);
  // Cut as soon as the answer is in; what it says of that is heard by nobody, and must not end the process.
  socket.on('error', () => undefined);
  try {
    const answer = await exchange(socket, url, headers, body, signal);
    const { statusCode: status = 0 } = answer;
    const pause = retryAfterMs(answer.headers['retry-after'], Date.now());
    await drained(answer, signal);
    if (status >= 200 && status < 300) return status;
    throw failureOf(status, pause);
  } catch (error) {
    throw sendErrorOf(error, signal);
  } finally {
    socket.destroy();
  }
}

function exchange(
  socket: Socket,
  url: URL,
  headers: Post['headers'],
  body: string,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const bytes = Buffer.from(body);
  return new Promise((resolve, reject) => {
    const outgoing = request({
      createConnection: () => socket,
      method: 'POST',
      path: `${url.pathname}${url.search}`,
      headers: { ...headers, host: url.host, 'content-length': bytes.length, connection: 'close' },
      signal,
    });
    outgoing.on('response', resolve).on('error', reject).end(bytes);
  });
}

/** Resolves when the answer has ended, or enough of it has come. */
function drained(answer: IncomingMessage, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    let bytes = 0;
    const timer = setTimeout(resolve, MAX_ANSWER_MS);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    answer.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > MAX_ANSWER_BYTES) done();
    });
    answer.on('end', done).on('error', done).on('close', done);
    signal.addEventListener('abort', done, { once: true });
  });
}

function failureOf(status: number, pauseMs: number | undefined): SendError {
  if (status >= 300 && status < 400)
    return new SendError(`The receiver answered ${status}; redirects are not followed.`, {
      status,
      isPermanent: true,
    });
  const isPassing = PASSING.has(status) || status >= 500;
  return new SendError(`The receiver answered ${status}.`, {
    status,
    isPermanent: !isPassing,
    ...(isPassing && pauseMs !== undefined ? { retryAfterMs: pauseMs } : {}),
  });
}

/** The pause that `Retry-After` asks for, in seconds or until a date; an hour at most, undefined when it asks for none. */
export function retryAfterMs(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  const isDate = / GMT$/.test(text);
  const pause = /^\d+(\.\d+)?$/.test(text)
    ? Number(text) * 1000
    : isDate
      ? Date.parse(text) - nowMs
      : Number.NaN;
  return Number.isNaN(pause) ? undefined : Math.min(Math.max(Math.ceil(pause), 0), MAX_PAUSE_MS);
}
