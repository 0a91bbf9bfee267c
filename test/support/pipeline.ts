import { connect, type Socket } from 'node:net';

export interface PipelinedAnswer {
  status: number;
  body: Buffer;
}

/** HTTP/1.1 requests on one connection, sent without waiting for answers: the cheapest client there is. */
export class Pipeline {
  private readonly socket: Socket;
  private readonly waiting: { resolve(answer: PipelinedAnswer): void; reject(error: Error): void }[] = [];
  private received: Buffer = Buffer.alloc(0);

  constructor(url: string) {
    const { hostname, port } = new URL(url);
    this.socket = connect({ host: hostname, port: Number(port), noDelay: true });
    this.socket.on('data', (chunk) => this.take(chunk));
    this.socket.on('error', (error) => this.fail(error));
    this.socket.on('close', () =>
      this.fail(new Error('The server closed a connection that it should have kept')),
    );
  }

  /** @param head request line and headers, each line ended, without Content-Length and without the empty line */
  send(head: string, body: Uint8Array): Promise<PipelinedAnswer> {
    this.socket.cork();
    this.socket.write(`${head}Content-Length: ${body.length}\r\n\r\n`);
    this.socket.write(body);
    this.socket.uncork();
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  close(): void {
    this.socket.removeAllListeners('close');
    this.socket.destroy();
  }

  private take(chunk: Buffer): void {
    this.received = this.received.length === 0 ? chunk : Buffer.concat([this.received, chunk]);
    for (;;) {
      const headEnd = this.received.indexOf('\r\n\r\n');
      if (headEnd < 0) return;
      const head = this.received.toString('latin1', 0, headEnd);
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0);
      const end = headEnd + 4 + length;
      if (this.received.length < end) return;
      const body = this.received.subarray(headEnd + 4, end);
      this.received = this.received.subarray(end);
      this.waiting.shift()?.resolve({ status: Number(head.slice(9, 12)), body });
    }
  }

  private fail(error: Error): void {
    for (const { reject } of this.waiting.splice(0)) reject(error);
  }
}
