import { ERROR_CODES, type ErrorCode, statusOf } from '../errors.js';
import type { JsonSchema } from './json-schema.js';

const header = (description: string, schema: JsonSchema) => ({ description, schema });

const integer = { type: 'integer' };

/** Headers, schemas and ways to authenticate that operations refer to. */
export const COMPONENTS = {
  securitySchemes: {
    bearer: {
      type: 'http',
      scheme: 'bearer',
      description: "A login's access token, or an API key.",
    },
    api_key: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'An API key.' },
  },
  parameters: {
    tenant_id: {
      name: 'X-Tenant-ID',
      in: 'header',
      description:
        'Which of its tenants a login acts for. A key has only its own; another one is refused with 403.',
      schema: { type: 'string' },
    },
    correlation_id: {
      name: 'X-Correlation-Id',
      in: 'header',
      description: 'Comes back with the answer and stands in the log; made here when it is missing.',
      schema: { type: 'string', pattern: '^[A-Za-z0-9._:-]{1,128}$' },
    },
  },
  headers: {
    correlation_id: header('The id of this request, as given or made here.', { type: 'string' }),
    rate_limit: header('Requests that may be made at once.', integer),
    rate_limit_remaining: header('Requests that are left now.', integer),
    rate_limit_reset: header('When all of them are there again, Unix seconds.', integer),
    retry_after: header('Seconds to wait before the next try.', integer),
    www_authenticate: header('The scheme to authenticate with.', { type: 'string', const: 'Bearer' }),
  },
  schemas: {
    Error: {
      type: 'object',
      required: ['status', 'error', 'code', 'message', 'path', 'timestamp', 'correlation_id'],
      properties: {
        status: { ...integer, description: 'The HTTP status.' },
        error: { type: 'string', description: 'Its name.' },
        code: { type: 'string', enum: ERROR_CODES, description: 'What a program can tell errors apart by.' },
        message: { type: 'string', description: 'What was wrong, where, and what is allowed.' },
        details: {
          description: 'Of bad requests: every field that is wrong, what was given and what is allowed.',
        },
        path: { type: 'string' },
        timestamp: { type: 'string', format: 'date-time' },
        correlation_id: { type: 'string' },
      },
    },
    Meta: {
      type: 'object',
      description: 'How the answer was made.',
      properties: {
        source: { type: 'string' },
        cache: { type: 'string', enum: ['miss', 'L1', 'L2', 'stale'] },
        rows_read: integer,
        bytes_read: integer,
        elapsed_ms: { type: 'number' },
        partial: { type: 'boolean', description: 'Present when the answer holds less than was asked for.' },
        partial_reason: { type: 'string', description: 'The limit that was hit, and what to do about it.' },
        explain: {
          type: 'array',
          description: 'With explain=1: the statements behind the answer.',
          items: {
            type: 'object',
            properties: {
              statement: { type: 'string', description: 'Values stand as {name:Type}.' },
              parameters: { type: 'object' },
              rows_read: integer,
              indexes: { type: 'array', items: { type: 'string' } },
            },
          },
        },
      },
    },
    RpcStatus: {
      type: 'object',
      description: 'google.rpc.Status.',
      required: ['code', 'message'],
      properties: {
        code: { ...integer, description: 'google.rpc.Code' },
        message: { type: 'string' },
      },
    },
  },
};

const ref = (kind: keyof typeof COMPONENTS, name: string) => ({ $ref: `#/components/${kind}/${name}` });
export const schemaRef = (name: keyof (typeof COMPONENTS)['schemas']) => ref('schemas', name);
export const parameterRef = (name: keyof (typeof COMPONENTS)['parameters']) => ref('parameters', name);

/** Headers of an answer; limited ones tell what is left of the limit. */
export function answerHeaders(isLimited: boolean): Record<string, unknown> {
  return {
    'X-Correlation-Id': ref('headers', 'correlation_id'),
    ...(isLimited
      ? {
          'X-RateLimit-Limit': ref('headers', 'rate_limit'),
          'X-RateLimit-Remaining': ref('headers', 'rate_limit_remaining'),
          'X-RateLimit-Reset': ref('headers', 'rate_limit_reset'),
        }
      : {}),
  };
}

const MEANING: Partial<Record<number, string>> = {
  400: 'What was sent is not understood; the details name every field that is wrong.',
  401: 'There is no credential, or it is not known, has expired or was revoked.',
  403: 'The credential does not have the permission, or does not reach the tenant in X-Tenant-ID.',
  404: 'There is no such thing, or it belongs to another tenant.',
  409: 'It is already there, or still in use.',
  413: 'The body is too large.',
  415: 'The body is of a type that is not taken here.',
  422: 'The question reads more than one may; ask for less.',
  429: 'Too many requests; Retry-After says when to come back.',
  503: 'Something that this needs is away just now; try again.',
};

/** Refusals by status. @param content of the bodies */
export function refusals(
  codes: readonly ErrorCode[],
  isLimited: boolean,
  content: Record<string, unknown>,
): Record<string, unknown> {
  const statuses = [...new Set(codes.map(statusOf))].sort((a, b) => a - b);
  const extra = (status: number) => ({
    ...(status === 401 ? { 'WWW-Authenticate': ref('headers', 'www_authenticate') } : {}),
    ...(status === 429 || status === 503 ? { 'Retry-After': ref('headers', 'retry_after') } : {}),
  });
  return Object.fromEntries(
    statuses.map((status) => [
      status,
      {
        description: MEANING[status] ?? codes.filter((code) => statusOf(code) === status).join(', '),
        headers: { ...answerHeaders(isLimited && status !== 401), ...extra(status) },
        content,
      },
    ]),
  );
}
