import type { ServerResponse } from 'node:http';
import { AppError } from '../errors.js';
import { bytesField, varintField } from '../otlp/protobuf-bytes.js';

/** The two encodings of OTLP over HTTP; the answer uses the request's. */
export type Encoding = 'protobuf' | 'json';

/** Exact values: Go clients compare them byte by byte, a charset parameter would make them ignore the body. */
const CONTENT_TYPE: Record<Encoding, string> = {
  protobuf: 'application/x-protobuf',
  json: 'application/json',
};

/** The JSON name of the rejected counter, which is field 1 of every `Export*PartialSuccess`. */
const REJECTED_FIELD = {
  traces: 'rejectedSpans',
  logs: 'rejectedLogRecords',
  metrics: 'rejectedDataPoints',
} as const;

const NOTHING_TO_SAY = { protobuf: Buffer.alloc(0), json: Buffer.from('{}') };

/** OTLP recommends answers under 4 MiB; a message is cut far below that. */
const MAX_MESSAGE_BYTES = 2048;

/** The encoding that a Content-Type asks for, parameters and case ignored; undefined when it is not one of OTLP's. */
export function encodingOf(contentType: string | undefined): Encoding | undefined {
  const type = contentType?.split(';', 1)[0].trim().toLowerCase();
  if (type === 'application/x-protobuf') return 'protobuf';
  if (type === 'application/json') return 'json';
  return undefined;
}

function cut(message: string): string {
  return message.length <= MAX_MESSAGE_BYTES ? message : `${message.slice(0, MAX_MESSAGE_BYTES)}…`;
}

/**
 * The body of a success: an `Export*ServiceResponse`. Without rejections and message it is empty, as the specification
 * demands; a message with nothing rejected is a warning.
 */
export function successBody(
  signal: keyof typeof REJECTED_FIELD,
  encoding: Encoding,
  rejected: number,
  message: string,
): Buffer {
  const text = cut(message);
  if (rejected === 0 && text === '') return NOTHING_TO_SAY[encoding];
  if (encoding === 'json') {
    const partialSuccess = { [REJECTED_FIELD[signal]]: String(rejected), errorMessage: text };
    return Buffer.from(JSON.stringify({ partialSuccess }));
  }
  const count = rejected > 0 ? varintField(1, rejected) : Buffer.alloc(0);
  return bytesField(1, Buffer.concat([count, bytesField(2, Buffer.from(text))]));
}

/** The body of an error: a `google.rpc.Status`. */
export function statusBody(encoding: Encoding, error: AppError): Buffer {
  const message = cut(error.message);
  if (encoding === 'json') return Buffer.from(JSON.stringify({ code: error.grpcCode, message }));
  return Buffer.concat([varintField(1, error.grpcCode), bytesField(2, Buffer.from(message))]);
}

/** Sends a body in one write with the exact content type. */
export function send(
  response: ServerResponse,
  status: number,
  encoding: Encoding,
  body: Buffer,
  headers: Record<string, string | number> = {},
): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(status, {
    'content-type': CONTENT_TYPE[encoding],
    'content-length': body.length,
    ...headers,
  });
  // Without a body the head goes out by itself, in one piece of text: half the cost of a write of two.
  if (body.length === 0) response.end();
  else response.end(body);
}

/**
 * What is not from the catalogue is a fault of ours that may pass: it goes out as UNAVAILABLE, because clients drop the data
 * on a 500, and in gRPC on UNKNOWN and INTERNAL.
 */
export function refusalOf(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  return new AppError('UNAVAILABLE', 'The data could not be taken in just now; send it again.', {
    cause: thrown,
  });
}

/** Sends an error as OTLP clients understand it. */
export function sendError(response: ServerResponse, encoding: Encoding, error: AppError): void {
  const headers: Record<string, string | number> = {};
  if (error.retryAfterSeconds !== undefined) headers['retry-after'] = error.retryAfterSeconds;
  if (error.status === 401) headers['www-authenticate'] = 'Bearer';
  send(response, error.status, encoding, statusBody(encoding, error), headers);
}
