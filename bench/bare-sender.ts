import { connect, type Socket } from 'node:net';

interface Target {
  url: string;
  signal: string;
  key: string;
}

const HEAD_END = '\r\n\r\n';
const LENGTH = 'content-length: ';
/** Where the status is in `HTTP/1.1 200 OK`. */
const STATUS_AT = 9;

/** One connection, with one request on its way at a time, as exporters do. */
class Connection {
  readonly socket: Socket;
  private text = '';
  private sentAt = 0;

  constructor(
    host: string,
    port: number,
    private readonly next: () => Buffer | undefined,
    private readonly answered: (status: string, ms: number, hasRetryAfter: boolean) => void,
    private readonly over: (error?: Error) => void,
  ) {
    const buffer = Buffer.allocUnsafe(64 * 1024);
    const callback = (bytes: number) => {
      this.read(buffer.toString('latin1', 0, bytes));
      return true;
    };
    this.socket = connect({ host, port, noDelay: true, onread: { buffer, callback } });
    this.socket.once('connect', () => this.send());
    this.socket.once('error', (error) => over(error));
    this.socket.once('end', () => over(new Error('The server closed a connection')));
  }

  private send(): void {
    const request = this.next();
    if (!request) {
      this.over();
      return void this.socket.destroy();
    }
    this.sentAt = performance.now();
    this.socket.write(request);
  }

  private read(chunk: string): void {
    this.text = this.text === '' ? chunk : this.text + chunk;
    const headEnd = this.text.indexOf(HEAD_END);
    if (headEnd < 0) return;
    const at = this.text.indexOf(LENGTH);
    const length = at < 0 ? 0 : Number.parseInt(this.text.slice(at + LENGTH.length, headEnd), 10);
    if (this.text.length < headEnd + HEAD_END.length + length) return;
    const status = this.text.slice(STATUS_AT, STATUS_AT + 3);
    this.answered(status, performance.now() - this.sentAt, this.text.includes('retry-after: '));
    this.text = '';
    this.send();
  }
}

/**
 * Sends prepared requests on bare sockets, each answer looked at no further than needed: a client of `node:http` costs more than the
 * server that is to be measured.
 *
 * @param answered hears of each answer
 * @returns resolves when every request is answered; rejects when a connection ends before
 */
export async function sendBare(
  url: URL,
  connections: number,
  next: () => Buffer | undefined,
  answered: (status: string, ms: number, hasRetryAfter: boolean) => void,
): Promise<void> {
  const one = () =>
    new Promise<void>((resolve, reject) => {
      const over = (error?: Error) => (error ? reject(error) : resolve());
      new Connection(url.hostname, Number(url.port), next, answered, over);
    });
  await Promise.all(Array.from({ length: connections }, one));
}

/** A whole request in one piece. */
export function bareRequest({ url, signal, key }: Target, body: Uint8Array): Buffer {
  const { host } = new URL(url);
  const head = `POST /v1/${signal} HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/x-protobuf\r\nauthorization: Bearer ${key}\r\ncontent-length: ${body.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head, 'latin1'), body]);
}
