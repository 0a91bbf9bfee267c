import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo, Server as NetServer, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { StartupError } from '../errors.js';
import { answerBroken } from './broken-requests.js';
import type { ConnectionLimit } from './connection-limit.js';
import type { Entry } from './entry.js';
import { SlowBodies } from './slow-bodies.js';

/**
 * Limits of every HTTP port. Slow senders cannot hold a connection for long; idle ones are kept longer than clients and
 * load balancers keep theirs (60 s and more), so that none is closed just as a request is on its way. `timeout` is for
 * clients that do not read their answer: no byte in either direction for so long.
 */
const LIMITS = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 90_000,
  timeout: 120_000,
  connectionsCheckingInterval: 5_000,
  maxHeaderSize: 16 * 1024,
};
const SLOW_CHECK_MS = 1000;

/** How long a stopping server waits for answers under way. */
const MAX_CLOSE_MS = 10_000;
const CLOSE_IDLE_MS = 50;

/**
 * An HTTP server, not yet listening, on which every request passes the entry first.
 *
 * @param connections counts the connections of all servers that share it
 */
export function createHttpServer(
  entry: Entry,
  connections: ConnectionLimit,
  listener: RequestListener,
): Server {
  const { timeout, ...options } = LIMITS;
  const slowBodies = new SlowBodies();
  const server = createServer({ ...options, noDelay: true }, (request, response) => {
    // Otherwise a client that goes on sending on its connection keeps a stopping server open.
    if (!server.listening) response.shouldKeepAlive = false;
    slowBodies.begins(request, response, performance.now());
    if (!entry.answers(request, response)) listener(request, response);
  });
  server.timeout = timeout;
  server.on('connection', (socket: Socket) => {
    if (connections.admit(socket)) slowBodies.connected(socket);
  });
  server.on('clientError', answerClientError);
  const slowCheck = setInterval(() => {
    for (const { socket, response } of slowBodies.take(performance.now())) {
      if (response.headersSent) socket.destroy();
      else answerBroken('slow', socket);
    }
  }, SLOW_CHECK_MS).unref();
  server.on('close', () => clearInterval(slowCheck));
  return server;
}

function answerClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') socket.destroy();
  else if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') answerBroken('slow', socket);
  else answerBroken(error.code === 'HPE_HEADER_OVERFLOW' ? 'large' : 'unreadable', socket);
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
