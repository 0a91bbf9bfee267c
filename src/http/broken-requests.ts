import { randomUUID } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { SECURITY_HEADERS } from './entry.js';

const BROKEN = {
  slow: {
    status: '503 Service Unavailable',
    code: 14,
    message: 'The request did not arrive in time; send it again.',
  },
  large: { status: '431 Request Header Fields Too Large', code: 3, message: 'The headers are too large.' },
  unreadable: {
    status: '400 Bad Request',
    code: 3,
    message: 'This is not an HTTP request that can be read.',
  },
} as const;

/** How long a client has to read why it was cut, before its connection is closed from here. */
const LINGER_MS = 1000;

/**
 * Answers what Node could not read as a request. Too slow is told as 503 and not as 408, on which OTLP clients drop their
 * data; the body is a `google.rpc.Status` in JSON, since what the client speaks is not known.
 */
export function answerBroken(kind: keyof typeof BROKEN, socket: Duplex): void {
  const { status, code, message } = BROKEN[kind];
  const body = JSON.stringify({ code, message });
  const headers = { ...SECURITY_HEADERS, 'x-correlation-id': randomUUID() };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const retry = kind === 'slow' ? 'Retry-After: 1\r\n' : '';
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\n${retry}${lines.join('')}Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  );
  // Its own end of the connection is still open, and it may go on sending on it for ever.
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
}
