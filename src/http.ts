import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo, Server as NetServer } from 'node:net';
import type { Duplex } from 'node:stream';
import { StartupError } from './errors.js';

/**
 * Timeouts of every HTTP port. Slow senders cannot hold a connection for long; idle ones are kept longer than clients and
 * load balancers keep theirs (60 s and more), so that none is closed just as a request is on its way.
 */
const TIMEOUTS = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 90_000,
  connectionsCheckingInterval: 5_000,
};

/** How long a stopping server waits for answers under way. */
const MAX_CLOSE_MS = 10_000;
const CLOSE_IDLE_MS = 50;

export function createHttpServer(listener: RequestListener): Server {
  const server = createServer({ ...TIMEOUTS, noDelay: true }, (request, response) => {
    // Otherwise a client that goes on sending on its connection keeps a stopping server open.
    if (!server.listening) response.shouldKeepAlive = false;
    listener(request, response);
  });
  server.on('clientError', answerBrokenRequest);
  return server;
}

/**
 * Answers what Node could not read as a request. Too slow is told as 503 and not as 408, on which OTLP clients drop their
 * data; the body is a `google.rpc.Status` in JSON, since what the client speaks is not known.
 */
function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const slow = error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
  const large = error.code === 'HPE_HEADER_OVERFLOW';
  const status = slow
    ? '503 Service Unavailable'
    : large
      ? '431 Request Header Fields Too Large'
      : '400 Bad Request';
  const message = slow
    ? 'The request did not arrive in time; send it again.'
    : large
      ? 'The headers are too large.'
      : 'This is not an HTTP request that can be read.';
  const body = JSON.stringify({ code: slow ? 14 : 3, message });
  const retry = slow ? 'Retry-After: 1\r\n' : '';
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\n${retry}Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  );
}

/**
 * Listens and resolves with the port, which matters where 0 asked for a free one.
 *
 * @param setting name of the setting the port came from, for the error
 * @throws StartupError when the port cannot be had
 */
export function listen(server: NetServer, host: string, port: number, setting: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'EADDRINUSE' ? 'is in use by another program' : `cannot be used: ${error.message}`;
      reject(
        new StartupError(`${host}:${port} ${why}. Choose another with ${setting}, or 0 for any free one.`),
      );
    });
    server.listen(port, host, () => resolve((server.address() as AddressInfo).port));
  });
}

/** Stops accepting, lets answers under way finish, then closes what is left. */
export function closeHttpServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    // Node does this once, before the answers under way have left their connections idle.
    const idle = setInterval(() => server.closeIdleConnections(), CLOSE_IDLE_MS);
    const timer = setTimeout(() => server.closeAllConnections(), MAX_CLOSE_MS);
    server.close(() => {
      clearInterval(idle);
      clearTimeout(timer);
      resolve();
    });
  });
}
