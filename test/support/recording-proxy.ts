import { createServer, type Server as HttpServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What went by: enough to see what a client did with the answers it got. */
export interface Exchange {
  path: string;
  contentType: string | undefined;
  contentEncoding: string | undefined;
  status: number;
  atMs: number;
}

/** A plain forwarder between a client and the server, which notes every exchange. */
export class RecordingProxy {
  readonly exchanges: Exchange[] = [];

  private constructor(
    private readonly server: HttpServer,
    readonly url: string,
  ) {}

  static async before(target: string): Promise<RecordingProxy> {
    const server = createServer((incoming, outgoing) => {
      const { url: path = '', method, headers } = incoming;
      const forward = request(`${target}${path}`, { method, headers }, (answer) => {
        const { 'content-type': contentType, 'content-encoding': contentEncoding } = headers;
        const status = answer.statusCode!;
        proxy.exchanges.push({ path, contentType, contentEncoding, status, atMs: performance.now() });
        outgoing.writeHead(status, answer.headers);
        answer.pipe(outgoing);
      });
      forward.on('error', () => outgoing.destroy());
      incoming.pipe(forward);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const proxy = new RecordingProxy(server, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    return proxy;
  }

  close(): void {
    this.server.close();
    this.server.closeAllConnections();
  }
}
