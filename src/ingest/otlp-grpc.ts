import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { AppError } from '../errors.js';
import type { BodyPool } from '../memory/body-pool.js';
import type { Signal } from '../signal.js';
import { ClientGone, type Compression, type Reserve } from './body.js';
import { sendMessage, sendRefusal, sendStatus } from './grpc-answer.js';
import { MessageReader } from './grpc-message.js';
import type { GrpcServices } from './grpc-services.js';
import type { Intake } from './intake.js';
import { successBody } from './otlp-response.js';

const SERVICES = {
  'opentelemetry.proto.collector.trace.v1.TraceService': 'traces',
  'opentelemetry.proto.collector.logs.v1.LogsService': 'logs',
  'opentelemetry.proto.collector.metrics.v1.MetricsService': 'metrics',
} as const satisfies Record<string, Signal>;

const SIGNAL_OF_PATH = new Map<string, Signal>(
  Object.entries(SERVICES).map(([service, signal]) => [`/${service}/Export`, signal]),
);

/** A message that has not arrived by then is not waited for any longer, however patient the client is. */
const MAX_READING_MS = 30_000;

const UNIMPLEMENTED = 12;
const MS_OF_UNIT: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};
const COMPRESSIONS: Readonly<Record<string, Compression>> = {
  identity: 'identity',
  gzip: 'gzip',
  deflate: 'deflate',
};

/** One call as it arrives: a stream of HTTP/2 and its head. */
export interface GrpcCall {
  stream: ServerHttp2Stream;
  headers: IncomingHttpHeaders;
  remoteAddress: string | undefined;
}

/**
 * OTLP over gRPC, on plain HTTP/2 streams (docs/decisions/grpc.md): who are you, is there room, read, decompress, accept, answer.
 * The bytes of a message are taken as they are. Every error is trailers-only, from the catalogue.
 */
export class OtlpGrpc {
  private services: Promise<GrpcServices> | undefined;
  private isStopping = false;

  constructor(
    private readonly intake: Intake,
    private readonly bodies: BodyPool,
  ) {}

  /** Answers one call; never throws. */
  async handle(call: GrpcCall): Promise<void> {
    const startedAtMs = performance.now();
    const { stream, headers } = call;
    if (!headers['content-type']?.startsWith('application/grpc')) return refuseOther(stream);
    const signal = SIGNAL_OF_PATH.get(headers[':path'] ?? '');
    try {
      if (signal) await this.ingest(call, signal, startedAtMs);
      else await this.serve(call);
    } catch (thrown) {
      if (!(thrown instanceof ClientGone)) sendRefusal(stream, this.intake.refusal(thrown, headers[':path']));
    }
  }

  /** From now on the health service says NOT_SERVING, and those who watch it are told and let go. */
  stop(): void {
    this.isStopping = true;
    void this.services?.then((services) => services.stop());
  }

  private async ingest(call: GrpcCall, signal: Signal, startedAtMs: number): Promise<void> {
    const { stream, headers } = call;
    const compression = COMPRESSIONS[headers['grpc-encoding']?.toString() ?? 'identity'];
    if (!compression) return refuseEncoding(call);
    const reader = new MessageReader(stream, this.intake.limits.maxBodyBytes, this.bodies);
    const deadline = this.watchDeadline(call, reader);
    try {
      // The name that was asked for, where HTTP/1.1 has it.
      headers.host ??= headers[':authority'];
      const principal = await this.intake.admit(call, () => undefined);
      const read = async (reserve: Reserve) => {
        const { body, isCompressed } = await reader.read(reserve);
        deadline.hasRead();
        if (isCompressed && compression === 'identity') {
          this.bodies.give(body);
          throw new AppError('MALFORMED_BODY', 'The message says that it is compressed, not how.');
        }
        return { body, compression: isCompressed ? compression : 'identity' };
      };
      const accepted = await this.intake.accept(
        principal,
        { signal, encoding: 'protobuf', read },
        startedAtMs,
      );
      sendMessage(stream, successBody(signal, 'protobuf', accepted.rejected, accepted.message));
    } finally {
      deadline.over();
    }
  }

  /** Ends the call when its client's deadline passes, or when its message takes too long to arrive. */
  private watchDeadline(call: GrpcCall, reader: MessageReader) {
    const deadlineMs = timeoutMs(call.headers['grpc-timeout']?.toString());
    const waitMs = Math.min(deadlineMs, MAX_READING_MS);
    const timer = setTimeout(() => {
      const thrown =
        waitMs === deadlineMs
          ? new AppError('REQUEST_TIMEOUT', 'The deadline has passed.')
          : new AppError('UNAVAILABLE', 'The message did not arrive in time; send it again.');
      sendRefusal(call.stream, this.intake.refusal(thrown, call.headers[':path']));
      reader.fail(new ClientGone());
    }, waitMs);
    return {
      hasRead: () => deadlineMs > MAX_READING_MS && clearTimeout(timer),
      over: () => clearTimeout(timer),
    };
  }

  /** Health and reflection, which few calls are for: loaded when the first one comes. */
  private async serve(call: GrpcCall): Promise<void> {
    call.stream.pause();
    this.services ??= import('./grpc-services.js').then(({ GrpcServices }) => {
      const services = new GrpcServices(Object.keys(SERVICES));
      if (this.isStopping) services.stop();
      return services;
    });
    const services = await this.services;
    if (!(await services.handle(call.stream, call.headers)))
      sendStatus(call.stream, UNIMPLEMENTED, `No such method: ${call.headers[':path']}.`);
  }
}

/** What a client waits, from `grpc-timeout`: up to eight digits and a unit. Infinity where it does not say. */
export function timeoutMs(header: string | undefined): number {
  const match = header === undefined ? null : /^(\d{1,8})([HMSmun])$/.exec(header);
  return match ? Number(match[1]) * MS_OF_UNIT[match[2]] : Number.POSITIVE_INFINITY;
}

/** Not gRPC: as its specification over HTTP/2 says, for clients that can read no trailers. */
function refuseOther(stream: ServerHttp2Stream): void {
  if (!stream.closed) stream.respond({ ':status': 415 }, { endStream: true });
}

function refuseEncoding({ stream, headers }: GrpcCall): void {
  const message = `grpc-encoding ${headers['grpc-encoding']} is not supported; use gzip, deflate or identity.`;
  sendStatus(stream, UNIMPLEMENTED, message, { 'grpc-accept-encoding': 'identity,gzip,deflate' });
}
