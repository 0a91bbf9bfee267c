import type { ServerHttp2Stream } from 'node:http2';
import type { AppError } from '../errors.js';
import { bytesField, varintField } from '../otlp/protobuf-bytes.js';
import { PREFIX_BYTES } from './grpc-message.js';

const HEAD = { ':status': 200, 'content-type': 'application/grpc' } as const;
const OK_TRAILERS = { 'grpc-status': '0' };

/** A call's trailers must fit into what clients allow for headers, 8 KiB, and hold the message twice. */
const MAX_MESSAGE_CHARACTERS = 512;
/** How long the rest of a refused call is read and dropped, before the stream is closed on a client that goes on. */
const MAX_DROPPING_MS = 5000;

const RETRY_INFO_URL = Buffer.from('type.googleapis.com/google.rpc.RetryInfo');

/** A message as it goes over the wire, not compressed. */
export function frame(message: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  framed[0] = 0;
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, PREFIX_BYTES);
  return framed;
}

/** Whether a call can still be answered: it has not been, and its client has not gone. Node throws otherwise. */
function isOpen(stream: ServerHttp2Stream): boolean {
  return !stream.destroyed && !stream.closed && !stream.headersSent;
}

/** Opens an answer that has messages; the call ends with OK when the stream is ended. */
export function startAnswer(stream: ServerHttp2Stream): void {
  stream.respond(HEAD, { waitForTrailers: true });
  stream.once('wantTrailers', () => {
    if (!stream.closed) stream.sendTrailers(OK_TRAILERS);
  });
}

/** Answers a unary call with its one message. Nothing happens when the call is over. */
export function sendMessage(stream: ServerHttp2Stream, message: Buffer): void {
  if (!isOpen(stream)) return;
  startAnswer(stream);
  stream.end(frame(message));
}

/**
 * Ends a call with an error, trailers only: some clients look for the status nowhere else. Nothing happens when the call is over
 * or answered.
 */
export function sendStatus(
  stream: ServerHttp2Stream,
  code: number,
  message: string,
  more: Record<string, string> = {},
): void {
  if (!isOpen(stream)) return;
  const trailers = { ...HEAD, 'grpc-status': String(code), 'grpc-message': percentEncoded(message), ...more };
  stream.respond(trailers, { endStream: true });
  if (stream.readableEnded) return;
  stream.resume();
  const timer = setTimeout(() => stream.close(), MAX_DROPPING_MS).unref();
  stream.once('close', () => clearTimeout(timer));
}

/**
 * Ends a call with an error from the catalogue. One that passes has a RetryInfo, without which clients do not re-send on
 * RESOURCE_EXHAUSTED; twice, because Python's SDK reads the trailer and Go's and the Collector the status details.
 */
export function sendRefusal(stream: ServerHttp2Stream, error: AppError): void {
  const message = short(error.message);
  const status = [varintField(1, error.grpcCode), bytesField(2, Buffer.from(message))];
  const trailers: Record<string, string> = {};
  if (error.retryAfterSeconds !== undefined) {
    const retryInfo = bytesField(1, varintField(1, Math.ceil(error.retryAfterSeconds)));
    status.push(bytesField(3, Buffer.concat([bytesField(1, RETRY_INFO_URL), bytesField(2, retryInfo)])));
    trailers['google.rpc.retryinfo-bin'] = base64(retryInfo);
  }
  trailers['grpc-status-details-bin'] = base64(Buffer.concat(status));
  sendStatus(stream, error.grpcCode, message, trailers);
}

function short(message: string): string {
  return message.length <= MAX_MESSAGE_CHARACTERS ? message : `${message.slice(0, MAX_MESSAGE_CHARACTERS)}…`;
}

/** Binary metadata is sent without padding. */
function base64(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '');
}

/** As `grpc-message` has it: everything but printable ASCII, and the percent sign, as UTF-8 bytes in hex. */
function percentEncoded(message: string): string {
  // Through bytes, so that half a character, which cannot be encoded, becomes U+FFFD.
  const wellFormed = Buffer.from(message).toString();
  return wellFormed.replace(/[^\x20-\x24\x26-\x7e]+/g, encodeURIComponent);
}
