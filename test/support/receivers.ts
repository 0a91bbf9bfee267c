import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Server as NetServer, Socket } from 'node:net';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { RECEIVER_CERTIFICATE, RECEIVER_KEY } from './receiver-certificate.js';

export interface Received {
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
}

type Answering = (response: ServerResponse, request: Received) => void;

/** Somebody's HTTP server that takes messages, or does not. */
export class HttpReceiver {
  readonly received: Received[] = [];
  /** How it answers from now on: by default 200. */
  answering: Answering = (response) => response.end('ok');

  private constructor(
    private readonly server: NetServer & { closeAllConnections(): void },
    private readonly scheme: string,
  ) {}

  static async start(security: 'plain' | 'tls' = 'plain', host = '127.0.0.1'): Promise<HttpReceiver> {
    const handler = (request: IncomingMessage, response: ServerResponse) =>
      void receiver.take(request, response);
    const server =
      security === 'plain'
        ? createServer(handler)
        : createTlsServer({ cert: RECEIVER_CERTIFICATE, key: RECEIVER_KEY }, handler);
    const receiver = new HttpReceiver(server, security === 'plain' ? 'http' : 'https');
    await new Promise<void>((resolve) => server.listen(0, host, resolve));
    return receiver;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** @param host by which it is called */
  url(path = '/hook', host = '127.0.0.1'): string {
    return `${this.scheme}://${host}:${this.port}${path}`;
  }

  /** Answers with this status, and headers. */
  answer(
    status: number,
    headers: Record<string, string> = {},
    body = 'what a receiver says is shown to nobody',
  ): void {
    this.answering = (response) => response.writeHead(status, headers).end(body);
  }

  bodies(): unknown[] {
    return this.received.map(({ body }) => JSON.parse(body));
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const received = {
      path: request.url ?? '',
      headers: request.headers,
      body: Buffer.concat(chunks).toString(),
    };
    this.received.push(received);
    this.answering(response, received);
  }
}

export interface Mail {
  from: string;
  to: string[];
  /** Headers and body as they came over the wire. */
  source: string;
  isEncrypted: boolean;
  user: string | undefined;
}

/** Somebody's mail server, which keeps what it takes. */
export class MailReceiver {
  readonly mails: Mail[] = [];

  private constructor(private readonly server: SMTPServer) {}

  static async start(options: SMTPServerOptions = {}): Promise<MailReceiver> {
    const receiver = new MailReceiver(
      new SMTPServer({
        authOptional: true,
        cert: RECEIVER_CERTIFICATE,
        key: RECEIVER_KEY,
        logger: false,
        onAuth: ({ username, password }, _, callback) =>
          password === 'right password'
            ? callback(null, { user: username })
            : callback(Object.assign(new Error('said by the server: no'), { responseCode: 535 })),
        onData: (stream, session, callback) => {
          const chunks: Buffer[] = [];
          stream.on('data', (chunk: Buffer) => chunks.push(chunk));
          stream.on('end', () => {
            const { mailFrom, rcptTo } = session.envelope;
            receiver.mails.push({
              from: mailFrom === false ? '' : mailFrom.address,
              to: rcptTo.map(({ address }) => address),
              source: Buffer.concat(chunks).toString(),
              isEncrypted: session.secure,
              user: session.user || undefined,
            });
            callback();
          });
        },
        ...options,
      }),
    );
    receiver.server.on('error', () => undefined);
    await new Promise<void>((resolve) => receiver.server.listen(0, '127.0.0.1', resolve));
    return receiver;
  }

  get port(): number {
    return (this.server.server.address() as AddressInfo).port;
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.server.close(() => resolve()));
  }
}

/** A server that takes connections and never says a word. */
export async function startSilence(): Promise<{ port: number; close(): Promise<void> }> {
  const { createServer: createNetServer } = await import('node:net');
  const sockets = new Set<Socket>();
  const server = createNetServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
