import assert from 'node:assert/strict';
import type { Signal } from '../../src/signal.js';
import { type Answer, type Call, call } from './http.js';
import { encodeOtlp, otlp } from './otlp-proto.js';

export type Encoding = 'protobuf' | 'json';
export const ENCODINGS: readonly Encoding[] = ['protobuf', 'json'];
export const CONTENT_TYPES: Readonly<Record<Encoding, string>> = {
  protobuf: 'application/x-protobuf',
  json: 'application/json',
};

/** Any JSON-like OTLP object, lowerCamelCase, ids in hex. */
export type Item = Record<string, unknown>;

/** A port of the program and the status of a success there. */
export interface Port {
  name: string;
  url: string;
  success: 200 | 202;
}

export function portsOf(server: { otlp: string; api: string }): Port[] {
  return [
    { name: 'OTLP port', url: server.otlp, success: 200 },
    { name: 'API port', url: server.api, success: 202 },
  ];
}

/** The same request body in either encoding. */
export function encode(signal: Signal, encoding: Encoding, request: Item): Buffer {
  if (encoding === 'json') return Buffer.from(JSON.stringify(request));
  return Buffer.from(encodeOtlp(otlp[signal], withBytes(request) as object));
}

const HEX_IDS = new Set(['traceId', 'spanId', 'parentSpanId']);

/** OTLP/JSON writes ids in hex, protobufjs wants bytes. */
function withBytes(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withBytes);
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  const entries = Object.entries(value).map(([key, member]) => [
    key,
    HEX_IDS.has(key) && typeof member === 'string' ? Buffer.from(member, 'hex') : withBytes(member),
  ]);
  return Object.fromEntries(entries);
}

/** Sends a body as one encoding to `/v1/<signal>`. */
export function sendOtlp(
  url: string,
  signal: Signal,
  encoding: Encoding,
  body: Uint8Array | string,
  { headers, ...options }: Omit<Call, 'body' | 'method'> = {},
): Promise<Answer> {
  const all = { 'content-type': CONTENT_TYPES[encoding], ...headers };
  return call(`${url}/v1/${signal}`, { ...options, headers: all, body });
}

const REJECTED: Readonly<Record<Signal, string>> = {
  traces: 'rejectedSpans',
  logs: 'rejectedLogRecords',
  metrics: 'rejectedDataPoints',
};
const RESPONSES = { traces: otlp.tracesResponse, logs: otlp.logsResponse, metrics: otlp.metricsResponse };

/** Asserts an OTLP success and returns what its partial_success says; nothing rejected and no message without one. */
export function readSuccess(answer: Answer, signal: Signal, encoding: Encoding, status: number) {
  assert.equal(answer.status, status, `body: ${answer.body.toString('latin1').slice(0, 300)}`);
  assert.equal(answer.headers['content-type'], CONTENT_TYPES[encoding]);
  const message =
    encoding === 'json' ? parseJson(answer.body) : RESPONSES[signal].decode(answer.body).toJSON();
  const partial = message.partialSuccess as Item | undefined;
  if (partial === undefined) assert.equal(answer.body.toString(), encoding === 'json' ? '{}' : '');
  return { rejected: Number(partial?.[REJECTED[signal]] ?? 0), message: String(partial?.errorMessage ?? '') };
}

/** Asserts a refusal as OTLP clients understand it: exact content type, a google.rpc.Status in the same encoding. */
export function readRefusal(answer: Answer, encoding: Encoding): { code: number; message: string } {
  assert.ok(answer.status >= 400, `status ${answer.status}`);
  assert.equal(answer.headers['content-type'], CONTENT_TYPES[encoding]);
  const { code, message } =
    encoding === 'json' ? parseJson(answer.body) : otlp.status.decode(answer.body).toJSON();
  assert.equal(typeof code, 'number');
  assert.ok(typeof message === 'string' && message.length > 10, 'the status has a message one can act on');
  if (answer.status === 503 || answer.status === 429) {
    assert.match(
      String(answer.headers['retry-after']),
      /^[12]$/,
      'Retry-After in seconds, short enough to be kept to',
    );
  }
  return { code: code as number, message };
}

function parseJson(body: Buffer): Item {
  return JSON.parse(body.toString()) as Item;
}
