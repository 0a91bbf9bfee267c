import { EventEmitter } from 'node:events';
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { join } from 'node:path';
import type { MethodDefinition } from '@grpc/proto-loader';
import { HealthImplementation, protoPath as healthProtoPath } from 'grpc-health-check';
import { AppError } from '../errors.js';
import { PACKAGE_ROOT } from '../version.js';
import { frame, sendRefusal, sendStatus, startAnswer } from './grpc-answer.js';
import { PREFIX_BYTES } from './grpc-message.js';

/** What OTLP's services are described from; published with the package. */
const PROTO_DIR = join(PACKAGE_ROOT, 'proto');
const OTLP_FILES = ['trace/v1/trace', 'logs/v1/logs', 'metrics/v1/metrics'].map(
  (name) => `opentelemetry/proto/collector/${name}_service.proto`,
);

/** Questions to these services are a name or two. */
const MAX_MESSAGE_BYTES = 16 * 1024;

const INVALID_ARGUMENT = 3;
const UNAVAILABLE = 14;

type Definition = MethodDefinition<object, object>;
type Reply = (error: { code: number; details: string } | null, message?: object | null) => void;
type Handler = (call: OpenCall, reply: Reply) => void;
interface Method {
  definition: Definition;
  handler: Handler;
}

/** A call as the packages' handlers expect it: `request`, or `data` and `end`; `cancelled`; `write` and `end`. */
class OpenCall extends EventEmitter {
  request: object | undefined;

  constructor(
    private readonly stream: ServerHttp2Stream,
    private readonly definition: Definition,
  ) {
    super();
    stream.once('close', () => this.emit('cancelled'));
  }

  write(message: object): void {
    const { stream } = this;
    if (stream.destroyed || stream.closed || stream.writableEnded) return;
    if (!stream.headersSent) startAnswer(stream);
    if (stream.write(frame(this.definition.responseSerialize(message)))) return;
    // A client that asks on and does not read is not read from either.
    stream.pause();
    stream.once('drain', () => stream.resume());
  }

  end(): void {
    if (this.stream.destroyed || this.stream.closed) return;
    if (!this.stream.headersSent) startAnswer(this.stream);
    this.stream.end();
  }
}

/**
 * The standard health and reflection services, of the official packages, on streams of HTTP/2: `addService` is all that they
 * want of a server.
 */
export class GrpcServices {
  private readonly methods = new Map<string, Method>();
  private readonly open = new Set<ServerHttp2Stream>();
  private readonly health: HealthImplementation;
  private readonly served: string[];
  private reflection: Promise<void> | undefined;

  /** @param otlpServices full names of the services that are served besides these */
  constructor(otlpServices: string[]) {
    this.served = ['', ...otlpServices];
    this.health = new HealthImplementation(Object.fromEntries(this.served.map((name) => [name, 'SERVING'])));
    this.health.addToServer(this as never);
  }

  /** What the packages call on a server to add theirs; types are their own, and of several versions. */
  addService(service: Record<string, Definition>, handlers: Record<string, Handler>): void {
    for (const [name, definition] of Object.entries(service)) {
      const handler = handlers[name] ?? handlers[definition.originalName!];
      this.methods.set(definition.path, { definition, handler });
    }
  }

  /** Whether the call is for one of these; then it is answered. The stream is paused. */
  async handle(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<boolean> {
    const path = headers[':path'] ?? '';
    if (path.startsWith('/grpc.reflection.')) {
      this.reflection ??= this.loadReflection();
      await this.reflection;
    }
    const method = this.methods.get(path);
    if (method && !stream.destroyed) this.answer(stream, method);
    return method !== undefined;
  }

  /** Takes a third of a second and 20 MB, for a tool that few use: not before the first question. */
  private async loadReflection(): Promise<void> {
    const { loadSync } = await import('@grpc/proto-loader');
    const { ReflectionService } = await import('@grpc/reflection');
    const described = loadSync([...OTLP_FILES, healthProtoPath], { includeDirs: [PROTO_DIR] });
    new ReflectionService(described).addToServer(this as never);
  }

  private answer(stream: ServerHttp2Stream, { definition, handler }: Method): void {
    const call = new OpenCall(stream, definition);
    this.open.add(stream);
    stream.once('close', () => this.open.delete(stream));
    const reply: Reply = (error, message) => {
      if (error) return sendStatus(stream, error.code, error.details);
      call.write(message!);
      call.end();
    };
    if (definition.requestStream) handler(call, reply);
    readMessages(stream, (bytes) => {
      const message = definition.requestDeserialize(bytes);
      if (definition.requestStream) call.emit('data', message);
      else call.request = message;
    });
    stream.once('end', () => {
      if (definition.requestStream) call.emit('end');
      else if (call.request) handler(call, reply);
      else sendStatus(stream, INVALID_ARGUMENT, 'The request is not one gRPC message.');
    });
    stream.resume();
  }

  /** NOT_SERVING from now on; those who watch are told, and every call that is still open ends. */
  stop(): void {
    for (const name of this.served) this.health.setStatus(name, 'NOT_SERVING');
    for (const stream of this.open) {
      if (stream.headersSent) stream.end();
      else sendStatus(stream, UNAVAILABLE, 'This server is stopping.');
    }
  }
}

/** Calls `take` with every message as it is whole. */
function readMessages(stream: ServerHttp2Stream, take: (message: Buffer) => void): void {
  let rest = Buffer.alloc(0);
  const read = (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= PREFIX_BYTES) {
      const end = PREFIX_BYTES + rest.readUInt32BE(1);
      if (end > MAX_MESSAGE_BYTES) throw new AppError('BODY_TOO_LARGE', 'The message is too large.');
      if (rest.length < end) return;
      if (rest[0] !== 0) throw new AppError('MALFORMED_BODY', 'Messages must not be compressed here.');
      take(rest.subarray(PREFIX_BYTES, end));
      rest = rest.subarray(end);
    }
  };
  const onData = (chunk: Buffer) => {
    try {
      read(chunk);
    } catch (thrown) {
      stream.removeListener('data', onData);
      const malformed = new AppError('MALFORMED_BODY', 'The message cannot be read.', { cause: thrown });
      sendRefusal(stream, thrown instanceof AppError ? thrown : malformed);
    }
  };
  stream.on('data', onData);
}
