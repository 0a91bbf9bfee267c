import { type ClientHttp2Session, connect } from 'node:http2';

const PATHS = {
  traces: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
  logs: '/opentelemetry.proto.collector.logs.v1.LogsService/Export',
  metrics: '/opentelemetry.proto.collector.metrics.v1.MetricsService/Export',
};

interface Target {
  url: string;
  signal: keyof typeof PATHS;
  gzip: boolean;
  key: string;
}

/** Sends prepared messages as gRPC calls on bare HTTP/2: what a client costs should not be what is measured. */
export class GrpcSender {
  private readonly sessions: ClientHttp2Session[];
  private next = 0;
  private readonly head: Record<string, string>;

  constructor({ url, signal, gzip, key }: Target, connections: number) {
    this.sessions = Array.from({ length: connections }, () => {
      const session = connect(url);
      session.on('error', () => undefined);
      return session;
    });
    this.head = {
      ':method': 'POST',
      ':path': PATHS[signal],
      'content-type': 'application/grpc',
      te: 'trailers',
      authorization: `Bearer ${key}`,
      ...(gzip ? { 'grpc-encoding': 'gzip' } : {}),
    };
  }

  /** Resolves with the status of the call, as text; `hasRetryInfo` of one that may be sent again. */
  send(body: Buffer): Promise<{ status: string; hasRetryInfo: boolean }> {
    const session = this.sessions[this.next++ % this.sessions.length];
    return new Promise((resolve) => {
      const stream = session.request(this.head);
      let status = '';
      let hasRetryInfo = false;
      const read = (headers: Record<string, unknown>) => {
        if (headers['grpc-status'] === undefined) return;
        status = String(headers['grpc-status']);
        hasRetryInfo = headers['google.rpc.retryinfo-bin'] !== undefined;
      };
      stream.on('response', read);
      stream.on('trailers', read);
      stream.on('error', (error: NodeJS.ErrnoException) => (status ||= error.code ?? error.message));
      stream.on('close', () => resolve({ status: status || 'no status', hasRetryInfo }));
      stream.resume();
      stream.end(body);
    });
  }

  close(): void {
    for (const session of this.sessions) session.destroy();
  }
}

/** A message behind gRPC's five bytes. */
export function framed(body: Uint8Array, isCompressed: boolean): Buffer {
  const frame = Buffer.allocUnsafe(5 + body.length);
  frame[0] = isCompressed ? 1 : 0;
  frame.writeUInt32BE(body.length, 1);
  frame.set(body, 5);
  return frame;
}
