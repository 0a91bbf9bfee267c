import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
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

export function createHttpServer(listener: RequestListener): Server {
  return createServer({ ...TIMEOUTS, noDelay: true }, listener);
}

/**
 * Listens and resolves with the port, which matters where 0 asked for a free one.
 *
 * @param setting name of the setting the port came from, for the error
 * @throws StartupError when the port cannot be had
 */
export function listen(server: Server, host: string, port: number, setting: string): Promise<number> {
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
    const timer = setTimeout(() => server.closeAllConnections(), MAX_CLOSE_MS);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}
