/**
 * Every error the program answers with: one row each, `code` first, as clients see it.
 *
 * `status` is the HTTP status, `grpc` the google.rpc code of the same meaning (google/rpc/code.proto).
 * OTLP clients re-send only on 429, 502, 503 and 504, so a passing fault must never be a 500.
 */
const CATALOGUE = {
  INVALID_ARGUMENT: { status: 400, grpc: 3 },
  MALFORMED_BODY: { status: 400, grpc: 3 },
  UNAUTHENTICATED: { status: 401, grpc: 16 },
  PERMISSION_DENIED: { status: 403, grpc: 7 },
  NOT_FOUND: { status: 404, grpc: 5 },
  METHOD_NOT_ALLOWED: { status: 405, grpc: 12 },
  REQUEST_TIMEOUT: { status: 408, grpc: 4 },
  CONFLICT: { status: 409, grpc: 6 },
  BODY_TOO_LARGE: { status: 413, grpc: 8 },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, grpc: 3 },
  QUERY_TOO_EXPENSIVE: { status: 422, grpc: 8 },
  RATE_LIMITED: { status: 429, grpc: 8 },
  INTERNAL: { status: 500, grpc: 13 },
  UNAVAILABLE: { status: 503, grpc: 14 },
  BACKLOG_FULL: { status: 503, grpc: 14 },
  DISK_FULL: { status: 503, grpc: 14 },
  SHUTTING_DOWN: { status: 503, grpc: 14 },
} as const satisfies Record<string, { status: number; grpc: number }>;

export type ErrorCode = keyof typeof CATALOGUE;
export const ERROR_CODES = Object.keys(CATALOGUE) as ErrorCode[];

export function statusOf(code: ErrorCode): number {
  return CATALOGUE[code].status;
}

export interface ErrorOptions {
  /** What a program can act on: the field, what was given, what is allowed. */
  details?: unknown;
  /** Seconds a client should wait before it tries again; sent as `Retry-After`. Keep it at 1 or 2 where that is true. */
  retryAfterSeconds?: number;
  cause?: unknown;
}

/** An error from the catalogue. The message says what was wrong, where, and what is allowed. */
export class AppError extends Error {
  override readonly name = 'AppError';
  readonly status: number;
  readonly grpcCode: number;
  readonly details: unknown;
  readonly retryAfterSeconds: number | undefined;

  constructor(
    readonly code: ErrorCode,
    message: string,
    options: ErrorOptions = {},
  ) {
    super(message, { cause: options.cause });
    this.status = CATALOGUE[code].status;
    this.grpcCode = CATALOGUE[code].grpc;
    this.details = options.details;
    this.retryAfterSeconds = options.retryAfterSeconds ?? (this.status === 503 ? 1 : undefined);
  }
}

/** A job that can never succeed: it goes to the failed set at once, without further tries. */
export class PermanentError extends Error {
  override readonly name = 'PermanentError';
}

/** The program cannot start; the message is printed alone, without a stack. */
export class StartupError extends Error {
  override readonly name = 'StartupError';
}
