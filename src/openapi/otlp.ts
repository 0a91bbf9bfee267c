import { answerHeaders, parameterRef, refusals, schemaRef } from './components.js';

/** OTLP is served past the framework, so it does not describe itself: the three paths and the name of what is rejected. */
const SIGNALS = [
  ['traces', 'Trace', 'rejectedSpans'],
  ['logs', 'Logs', 'rejectedLogRecords'],
  ['metrics', 'Metrics', 'rejectedDataPoints'],
] as const;

const inBothEncodings = (json: unknown) => ({
  'application/x-protobuf': { schema: { type: 'string', contentMediaType: 'application/x-protobuf' } },
  'application/json': { schema: json },
});

/** The paths of OTLP over HTTP. */
export function otlpPaths(): Record<string, unknown> {
  return Object.fromEntries(
    SIGNALS.map(([signal, name, rejected]) => [`/v1/${signal}`, { post: operation(signal, name, rejected) }]),
  );
}

function operation(signal: string, name: string, rejected: string) {
  const partialSuccess = {
    type: 'object',
    description: 'Present when items were rejected for good, or when there is something to warn of.',
    properties: {
      [rejected]: { type: 'string', description: 'How many, as decimal digits.' },
      errorMessage: { type: 'string' },
    },
  };
  return {
    operationId: `postV1${name}`,
    tags: ['otlp'],
    summary: `Send ${signal} (OTLP)`,
    description: `An Export${name}ServiceRequest of OTLP. The answer comes once the data is durable, in the encoding of the request; here with 202, on the OTLP port (4318) with 200. Clients send the same bytes again after 429, 502, 503 and 504, which stores them once.`,
    'x-permission': 'ingest',
    security: [{ bearer: [] }, { api_key: [] }],
    parameters: [
      {
        name: 'Content-Encoding',
        in: 'header',
        description: 'How the body is compressed.',
        schema: { type: 'string', enum: ['gzip', 'deflate', 'identity'] },
      },
      parameterRef('tenant_id'),
      parameterRef('correlation_id'),
    ],
    requestBody: {
      required: true,
      content: inBothEncodings({ type: 'object', description: `Export${name}ServiceRequest in OTLP/JSON.` }),
    },
    responses: {
      202: {
        description: `Durable: an Export${name}ServiceResponse.`,
        headers: answerHeaders(true),
        content: inBothEncodings({ type: 'object', properties: { partialSuccess } }),
      },
      ...refusals(
        [
          'MALFORMED_BODY',
          'UNAUTHENTICATED',
          'PERMISSION_DENIED',
          'BODY_TOO_LARGE',
          'UNSUPPORTED_MEDIA_TYPE',
          'RATE_LIMITED',
          'BACKLOG_FULL',
        ],
        true,
        inBothEncodings(schemaRef('RpcStatus')),
      ),
    },
  };
}
