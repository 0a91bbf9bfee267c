import assert from 'node:assert/strict';
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import type { Signal } from '../../src/signal.js';
import { otlp } from './otlp-proto.js';

export const EXPORT_PATHS: Readonly<Record<Signal, string>> = {
  traces: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
  logs: '/opentelemetry.proto.collector.logs.v1.LogsService/Export',
  metrics: '/opentelemetry.proto.collector.metrics.v1.MetricsService/Export',
};

type Headers = Record<string, string | string[] | number | undefined>;

/** What a client sees of a call: the first block of headers, the bytes, the trailers; how the stream was closed. */
export interface GrpcAnswer {
  headers: Headers;
  body: Buffer;
  trailers: Headers | undefined;
  resetCode: number;
  /** Of whichever block has it; undefined when the call ended without. */
  status: number | undefined;
}

/** A message behind gRPC's five bytes. */
export function framed(message: Uint8Array, isCompressed = false): Buffer {
  const prefix = Buffer.from([isCompressed ? 1 : 0, 0, 0, 0, 0]);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** One connection, without any help of a gRPC library: bytes go out and come in as they are. */
export class GrpcConnection {
  readonly session: ClientHttp2Session;

  /** @param address host and port */
  constructor(address: string) {
    // As gRPC libraries have it: otherwise Node refuses answers while a large message is on its way.
    this.session = connect(`http://${address}`, { maxSessionMemory: 1024 });
    this.session.on('error', () => undefined);
  }

  /** Opens a call; the caller writes. */
  open(path: string, headers: Headers = {}): ClientHttp2Stream {
    const head = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' };
    const all = Object.entries({ ...head, ...headers }).filter(([, value]) => value !== undefined);
    const stream = this.session.request(Object.fromEntries(all) as Record<string, string>);
    stream.on('error', () => undefined);
    return stream;
  }

  /** One unary call: these bytes, then the end. */
  call(path: string, bytes: Uint8Array, headers: Headers = {}): Promise<GrpcAnswer> {
    const stream = this.open(path, headers);
    const answer = answerOf(stream);
    stream.end(bytes);
    return answer;
  }

  close(): void {
    this.session.destroy();
  }
}

/** Resolves when the call is answered or over, however it ends; what is still being sent then is cancelled, as gRPC clients do. */
export function answerOf(stream: ClientHttp2Stream): Promise<GrpcAnswer> {
  return new Promise((resolve) => {
    let headers: Headers = {};
    let trailers: Headers | undefined;
    const chunks: Buffer[] = [];
    stream.on('response', (received) => (headers = received));
    stream.on('trailers', (received) => (trailers = received));
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    const over = () => {
      const status = trailers?.['grpc-status'] ?? headers['grpc-status'];
      resolve({
        headers,
        trailers,
        body: Buffer.concat(chunks),
        resetCode: stream.rstCode ?? constants.NGHTTP2_NO_ERROR,
        status: status === undefined ? undefined : Number(status),
      });
      if (!stream.writableFinished) stream.close(constants.NGHTTP2_CANCEL);
    };
    stream.on('end', over);
    stream.on('close', over);
  });
}

const RESPONSES = { traces: otlp.tracesResponse, logs: otlp.logsResponse, metrics: otlp.metricsResponse };
const REJECTED = {
  traces: 'rejectedSpans',
  logs: 'rejectedLogRecords',
  metrics: 'rejectedDataPoints',
} as const;

/** Asserts OK with exactly one Export*ServiceResponse, and returns what its partial_success says. */
export function readExported(answer: GrpcAnswer, signal: Signal): { rejected: number; message: string } {
  assert.equal(answer.status, 0, JSON.stringify({ ...answer, body: undefined }));
  assert.equal(answer.headers['content-type'], 'application/grpc');
  assert.equal(answer.headers['grpc-status'], undefined);
  assert.equal(answer.body[0], 0);
  assert.equal(answer.body.readUInt32BE(1), answer.body.length - 5);
  const { partialSuccess } = RESPONSES[signal].decode(answer.body.subarray(5)).toJSON();
  if (partialSuccess === undefined) assert.equal(answer.body.length, 5, 'an empty message, as specified');
  return {
    rejected: Number(partialSuccess?.[REJECTED[signal]] ?? 0),
    message: partialSuccess?.errorMessage ?? '',
  };
}

/** Asserts an error that every client can read: trailers only, and the same in the status details. */
export function readGrpcError(answer: GrpcAnswer): { code: number; message: string; retrySeconds?: number } {
  assert.equal(answer.headers[':status'], 200);
  assert.equal(answer.headers['content-type'], 'application/grpc');
  assert.ok(answer.headers['grpc-status'], 'the status is in the first and only block of headers');
  assert.equal(answer.trailers, undefined);
  assert.equal(answer.body.length, 0);
  const code = Number(answer.headers['grpc-status']);
  const message = decodeURIComponent(String(answer.headers['grpc-message']));
  const details = answer.headers['grpc-status-details-bin'];
  if (details === undefined) return { code, message };
  const status = otlp.status.decode(Buffer.from(String(details), 'base64')).toJSON();
  assert.deepEqual([status.code, status.message], [code, message]);
  const trailer = answer.headers['google.rpc.retryinfo-bin'];
  const [any] = status.details ?? [];
  if (any === undefined) {
    assert.equal(trailer, undefined);
    return { code, message };
  }
  assert.equal(any.type_url ?? any.typeUrl, 'type.googleapis.com/google.rpc.RetryInfo');
  const retryInfo = Buffer.from(any.value, 'base64');
  assert.deepEqual(Buffer.from(String(trailer), 'base64'), retryInfo, 'in both places');
  // RetryInfo { Duration retry_delay = 1 }, Duration { int64 seconds = 1 }: 0a 02 08 <seconds>
  assert.equal(retryInfo.toString('hex').slice(0, 6), '0a0208');
  return { code, message, retrySeconds: retryInfo[3] };
}
