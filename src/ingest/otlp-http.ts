import type { IncomingMessage, ServerResponse } from 'node:http';
import { rateLimitHeaders } from '../edge/rate-limiter.js';
import { AppError } from '../errors.js';
import type { BodyPool } from '../memory/body-pool.js';
import { freeMemory } from '../memory/free-memory.js';
import type { Signal } from '../signal.js';
import { announcedLength, ClientGone, compressionOf, type Reserve, readBody } from './body.js';
import type { Intake } from './intake.js';
import { type Encoding, encodingOf, send, sendError, successBody } from './otlp-response.js';

const SIGNAL_OF_PATH: Record<string, Signal> = {
  '/v1/traces': 'traces',
  '/v1/logs': 'logs',
  '/v1/metrics': 'metrics',
};

/** How long the rest of a refused body is read and dropped. */
const MAX_DROPPING_MS = 5000;

/**
 * OTLP over HTTP, on plain Node requests so that both ports share it: who are you, how much may you send, is there room,
 * read, decompress, accept, answer. Every exit is a `google.rpc.Status` or an `Export*ServiceResponse` in the request's encoding.
 */
export class OtlpHttp {
  constructor(
    private readonly intake: Intake,
    private readonly bodies: BodyPool,
  ) {}

  /**
   * Answers one request; never throws.
   *
   * @param successStatus 200 on the OTLP port, where the specification says MUST; 202 on the API port
   */
  async handle(request: IncomingMessage, response: ServerResponse, successStatus: 200 | 202): Promise<void> {
    const startedAtMs = performance.now();
    const encoding = encodingOf(request.headers['content-type']);
    try {
      await this.ingest(request, response, successStatus, encoding, startedAtMs);
    } catch (thrown) {
      if (thrown instanceof ClientGone) return;
      await this.refuse(request, response, encoding ?? 'json', thrown);
    }
  }

  private async ingest(
    request: IncomingMessage,
    response: ServerResponse,
    successStatus: 200 | 202,
    encoding: Encoding | undefined,
    startedAtMs: number,
  ): Promise<void> {
    const signal = signalOf(request);
    if (!encoding) {
      throw new AppError(
        'UNSUPPORTED_MEDIA_TYPE',
        `Content-Type ${request.headers['content-type'] ?? '(none)'} is not supported; use application/x-protobuf or application/json.`,
      );
    }
    const { headers, socket } = request;
    const admitted = this.intake.admit({ headers, remoteAddress: socket.remoteAddress }, (verdict) => {
      for (const [name, value] of rateLimitHeaders(verdict)) response.setHeader(name, value);
    });
    const principal = admitted instanceof Promise ? await admitted : admitted;
    const compression = compressionOf(headers['content-encoding']);
    const { maxBodyBytes } = this.intake.limits;
    const length = announcedLength(request, maxBodyBytes);
    const sent = {
      signal,
      encoding,
      read: async (reserve: Reserve) => ({
        body: await readBody(request, length, maxBodyBytes, this.bodies, reserve),
        compression,
      }),
    };
    const { rejected, message } = await this.intake.accept(principal, sent, startedAtMs);
    send(response, successStatus, encoding, successBody(signal, encoding, rejected, message));
  }

  private async refuse(
    request: IncomingMessage,
    response: ServerResponse,
    encoding: Encoding,
    thrown: unknown,
  ): Promise<void> {
    const error = this.intake.refusal(thrown, request.url, request.headers['x-correlation-id']);
    if (error.code === 'METHOD_NOT_ALLOWED') response.setHeader('allow', 'POST');
    const dropped = request.complete ? undefined : dropRest(request);
    // A connection that ends with its answer is reset when more comes in, and the client never reads why.
    if (!response.shouldKeepAlive) await dropped;
    sendError(response, encoding, error);
    await dropped;
    if (!request.complete) request.destroy();
  }
}

/** Reads what is left of a body and forgets it, for a limited time. */
function dropRest(request: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, MAX_DROPPING_MS).unref();
    request.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    request.once('end', resolve);
    request.on('data', freeMemory);
  });
}

function signalOf(request: IncomingMessage): Signal {
  const path = request.url?.split('?', 1)[0].replace(/\/$/, '') ?? '';
  const signal = SIGNAL_OF_PATH[path];
  if (!signal)
    throw new AppError(
      'NOT_FOUND',
      `No such path: ${path}. OTLP is at /v1/traces, /v1/logs and /v1/metrics.`,
    );
  if (request.method !== 'POST')
    throw new AppError('METHOD_NOT_ALLOWED', `${path} takes POST, not ${request.method}.`);
  return signal;
}
