import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException, Inject } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { AppError, type ErrorCode } from '../errors.js';
import { LOGGER } from '../log.js';
import { AUDIT, type AuditTrail } from './audit.js';
import type { ScopedRequest } from './current-scope.js';

/** Turns every error of an API route into the contract's body; the only place that does. */
@Catch()
export class ErrorFilter implements ExceptionFilter {
  constructor(
    @Inject(LOGGER) private readonly log: Logger,
    @Inject(AUDIT) private readonly audit: AuditTrail,
  ) {}

  catch(thrown: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const reply = http.getResponse<FastifyReply>();
    const error = toAppError(thrown);
    if (error.status >= 500)
      this.log.error({ err: thrown, path: request.url, correlation_id: request.id }, error.message);
    if (error.status === 401 || error.status === 403) this.recordRefusal(request, error);
    if (error.retryAfterSeconds !== undefined) reply.header('retry-after', error.retryAfterSeconds);
    if (error.status === 401) reply.header('www-authenticate', 'Bearer');
    reply.status(error.status).send({
      status: error.status,
      error: STATUS_TEXT[error.status] ?? 'Error',
      code: error.code,
      message: error.message,
      ...(error.details === undefined ? {} : { details: error.details }),
      path: request.url,
      timestamp: new Date().toISOString(),
      correlation_id: request.id,
    });
  }

  private recordRefusal(request: FastifyRequest & ScopedRequest, { code }: AppError): void {
    const { principal, needsCredential, ip, id, method, url } = request;
    if (!needsCredential) return;
    this.audit.refuse({ code, principal, remoteAddress: ip, correlationId: id, method, url });
  }
}

const STATUS_TEXT: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  409: 'Conflict',
  413: 'Payload Too Large',
  415: 'Unsupported Media Type',
  422: 'Unprocessable Content',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
};

/** Connection exceptions, shutdowns and crashes, too many connections; and what the network says. */
const AWAY = /^(08...|57P0.|53300|ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH)$/;
/** What `pg` says without a code. */
const AWAY_MESSAGE = /^(Connection terminated|timeout exceeded when trying to connect)/;

/** Whether an error is PostgreSQL's being away, a fault that passes, and not what was asked of it. */
export function isDatabaseAway(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false;
  const code = (thrown as NodeJS.ErrnoException).code ?? '';
  return AWAY.test(code) || AWAY_MESSAGE.test(thrown.message);
}
/** What Fastify says of a body before a route sees it; Nest passes on its message and status, but not its code. */
const BODY_REFUSALS: readonly [RegExp, ErrorCode, string][] = [
  [/^Body is not valid JSON/, 'MALFORMED_BODY', 'The body is not valid JSON.'],
  [/^Body cannot be empty/, 'MALFORMED_BODY', 'The body is empty; JSON is needed here.'],
  [
    /^Request body size did not match/,
    'MALFORMED_BODY',
    'The body is not as long as its Content-Length says.',
  ],
  [/^Request body is too large/, 'BODY_TOO_LARGE', 'The body is larger than an API request may be (1 MiB).'],
  [
    /^Unsupported Media Type/,
    'UNSUPPORTED_MEDIA_TYPE',
    'Bodies of this API are JSON; send Content-Type: application/json.',
  ],
];

/** What frameworks throw, said in the catalogue's words; an unforeseen error tells the client nothing of the inside. */
function toAppError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  if (isDatabaseAway(thrown))
    return new AppError('UNAVAILABLE', 'The metadata database is away; try again.', { cause: thrown });
  const status =
    thrown instanceof HttpException ? thrown.getStatus() : (thrown as { statusCode?: number })?.statusCode;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const known = status !== undefined && BODY_REFUSALS.find(([pattern]) => pattern.test(message));
  if (known) return new AppError(known[1], known[2]);
  if (status === 404) return new AppError('NOT_FOUND', message);
  if (status === 413) return new AppError('BODY_TOO_LARGE', message);
  if (status === 415) return new AppError('UNSUPPORTED_MEDIA_TYPE', message);
  if (status !== undefined && status >= 400 && status < 500) return new AppError('INVALID_ARGUMENT', message);
  return new AppError('INTERNAL', 'Something went wrong inside; the correlation id finds it in the log.', {
    cause: thrown,
  });
}
