import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { type ByteBudget, Holding } from '../edge/byte-budget.js';
import type { Credentials } from '../edge/credentials.js';
import { assertPermission } from '../edge/scope.guard.js';
import { AppError } from '../errors.js';
import type { IngestCounters } from '../monitoring/ingest-counters.js';
import type { Signal } from '../signal.js';
import type { Acceptor } from './acceptor.js';
import {
  announcedLength,
  ClientGone,
  type Compression,
  compressionOf,
  decompress,
  inflatedSizeHint,
  readBody,
} from './body.js';
import { type Encoding, encodingOf, send, sendError, successBody } from './otlp-response.js';

const SIGNAL_OF_PATH: Record<string, Signal> = {
  '/v1/traces': 'traces',
  '/v1/logs': 'logs',
  '/v1/metrics': 'metrics',
};

/** How long the rest of a refused body is read and dropped. */
const MAX_DROPPING_MS = 5000;

export interface OtlpHttpLimits {
  maxBodyBytes: number;
  maxInflatedBytes: number;
}

/**
 * OTLP over HTTP, on plain Node requests so that both ports share it: who are you, is there room, read, decompress,
 * accept, answer. Every exit is a `google.rpc.Status` or an `Export*ServiceResponse` in the request's encoding.
 */
export class OtlpHttp {
  private stopping = false;

  constructor(
    private readonly credentials: Credentials,
    private readonly budget: ByteBudget,
    private readonly acceptor: Acceptor,
    private readonly limits: OtlpHttpLimits,
    private readonly counters: IngestCounters,
    private readonly log: Logger,
  ) {}

  /**
   * Answers one request; never throws.
   *
   * @param successStatus 200 on the OTLP port, where the specification says MUST; 202 on the API port
   */
  async handle(request: IncomingMessage, response: ServerResponse, successStatus: 200 | 202): Promise<void> {
    const startedAt = performance.now();
    const encoding = encodingOf(request.headers['content-type']);
    try {
      await this.ingest(request, response, successStatus, encoding);
      this.counters.acknowledged(performance.now() - startedAt);
    } catch (thrown) {
      if (thrown instanceof ClientGone) return;
      await this.refuse(request, response, encoding ?? 'json', thrown);
    }
  }

  /** From now on every request is told to try again, elsewhere or later. */
  stop(): void {
    this.stopping = true;
  }

  private async ingest(
    request: IncomingMessage,
    response: ServerResponse,
    successStatus: 200 | 202,
    encoding: Encoding | undefined,
  ): Promise<void> {
    const signal = signalOf(request);
    if (this.stopping) throw new AppError('SHUTTING_DOWN', 'This server is stopping; send this again.');
    if (!encoding) {
      throw new AppError(
        'UNSUPPORTED_MEDIA_TYPE',
        `Content-Type ${request.headers['content-type'] ?? '(none)'} is not supported; use application/x-protobuf or application/json.`,
      );
    }
    const principal = await this.credentials.resolve({
      headers: request.headers,
      remoteAddress: request.socket.remoteAddress,
    });
    assertPermission(principal.permissions, 'ingest');
    const compression = compressionOf(request.headers['content-encoding']);
    const length = announcedLength(request, this.limits.maxBodyBytes);
    const accepted = await this.withBody(request, length, compression, (body) =>
      this.acceptor.accept(principal.scope, signal, encoding, body),
    );
    const { rejected, message } = accepted;
    send(response, successStatus, encoding, successBody(signal, encoding, rejected, message));
  }

  /** Reads and decompresses within the budget, and keeps the budget until `use` is done with the body. */
  private async withBody<T>(
    request: IncomingMessage,
    length: number | undefined,
    compression: Compression,
    use: (body: Buffer<ArrayBuffer>) => Promise<T>,
  ): Promise<T> {
    const { maxBodyBytes, maxInflatedBytes } = this.limits;
    let holding = new Holding(this.budget);
    try {
      const body = await readBody(request, length, maxBodyBytes, (bytes) => holding.growTo(bytes));
      if (compression === 'identity') return await use(body);
      const expected = Math.min(inflatedSizeHint(body, compression) + 1, maxInflatedBytes);
      // What is held is given back before more is asked for: two of these never wait for each other.
      const swapFor = (bytes: number) => {
        holding.release();
        holding = new Holding(this.budget);
        return holding.growTo(bytes);
      };
      await swapFor(expected);
      let inflated = await decompress(body, compression, expected).catch(onlyTooLarge);
      if (!inflated) {
        await swapFor(maxInflatedBytes);
        inflated = await decompress(body, compression, maxInflatedBytes);
      }
      return await use(inflated);
    } finally {
      holding.release();
    }
  }

  private async refuse(
    request: IncomingMessage,
    response: ServerResponse,
    encoding: Encoding,
    thrown: unknown,
  ): Promise<void> {
    if (!(thrown instanceof AppError))
      this.log.error(
        { err: thrown, path: request.url, correlation_id: request.headers['x-correlation-id'] },
        'OTLP request failed',
      );
    if (thrown instanceof AppError && thrown.code === 'METHOD_NOT_ALLOWED')
      response.setHeader('allow', 'POST');
    const dropped = request.complete ? undefined : dropRest(request);
    // A connection that ends with its answer is reset when more comes in, and the client never reads why.
    if (!response.shouldKeepAlive) await dropped;
    const error = sendError(response, encoding, thrown);
    this.counters.refused(error.code);
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
    request.resume();
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

function onlyTooLarge(error: unknown): undefined {
  if (error instanceof AppError && error.code === 'BODY_TOO_LARGE') return undefined;
  throw error;
}
