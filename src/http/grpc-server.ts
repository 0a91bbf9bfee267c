import { createServer, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';

/**
 * What a connection may hold. A stream's window is what it can send before it is read, so it bounds what arrives before there
 * is room for it; the connection's own window only has to be large enough never to be what is waited for.
 */
const SETTINGS = {
  enablePush: false,
  initialWindowSize: 128 * 1024,
  maxConcurrentStreams: 128,
  maxFrameSize: 128 * 1024,
  maxHeaderListSize: 16 * 1024,
};
const CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024;
/** Node refuses streams over this as if the client were at fault; what bodies take is bounded by the byte budget. */
const MAX_SESSION_MEMORY_MB = 64;

/** A client that has not said hello by then is not one. */
const HELLO_MS = 10_000;
/** Exporters send every minute or so; a connection that has been silent for longer than any of them is let go. */
const IDLE_MS = 30 * 60_000;
/** TCP's own probes find peers that have gone without a word. */
const PROBE_MS = 60_000;

/** How long a stopping server waits for answers under way. */
const MAX_CLOSE_MS = 10_000;

/** A server for HTTP/2 without TLS, and the connections that it has. */
export interface GrpcServer {
  server: Http2Server;
  close(): Promise<void>;
}

/**
 * @param onCall takes each stream, with its head and where it comes from
 * @returns the server, which is not listening yet; `close` stops accepting, lets calls under way finish, then closes what is left
 */
export function createGrpcServer(
  onCall: (call: {
    stream: ServerHttp2Stream;
    headers: IncomingHttpHeaders;
    remoteAddress: string | undefined;
  }) => void,
): GrpcServer {
  const server = createServer({ settings: SETTINGS, maxSessionMemory: MAX_SESSION_MEMORY_MB });
  const sessions = new Set<import('node:http2').ServerHttp2Session>();
  server.on('connection', (socket: Socket) => {
    socket.setNoDelay(true);
    socket.setKeepAlive(true, PROBE_MS);
  });
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    session.setTimeout(HELLO_MS, () => session.close());
    session.once('remoteSettings', () => session.setTimeout(IDLE_MS));
    // Once: through the session the socket is behind a proxy that costs more than the rest of a call's head.
    const { remoteAddress } = session.socket;
    session.on('stream', (stream, headers) => {
      // Every error of a stream is also its close, which is what is listened to.
      stream.on('error', () => undefined);
      onCall({ stream, headers, remoteAddress });
    });
  });
  const close = () =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        for (const session of sessions) session.destroy();
      }, MAX_CLOSE_MS);
      server.close(() => {
        clearTimeout(timer);
        resolve();
      });
      // Tells clients to go elsewhere; streams under way are answered, new ones are refused as never begun.
      for (const session of sessions) session.close();
    });
  return { server, close };
}
