import type { ErrorCode } from '../errors.js';
import { VERSION } from '../version.js';
import { answerHeaders, COMPONENTS, parameterRef, refusals, schemaRef } from './components.js';
import { type JsonSchema, jsonSchema } from './json-schema.js';
import { otlpPaths } from './otlp.js';
import type { Route } from './routes.js';

const INTRODUCTION = `Send telemetry as OTLP, ask about it under \`/api/v1\`.

**Who you are**: \`Authorization: Bearer <login token or key>\` or \`X-API-Key: <key>\`. The tenant comes from the credential;
what belongs to another one is absent (404). \`x-permission\` of an operation is the permission that it takes. With
\`INGEST_ANONYMOUS=loopback\`, the default, requests from the machine itself may send OTLP without a credential.

**Times** are ISO 8601, Unix milliseconds, \`now\`, or \`now-15m\` style. **Lists** are read by \`page\` or, at any depth, by \`cursor\`.
**Unknown parameters** are refused, so that a misspelt filter never widens an answer.

**Errors** have one shape, \`Error\`; its \`correlation_id\` finds the request in the log, and is \`X-Correlation-Id\` of the answer.`;

const TAGS: Record<string, string> = {
  otlp: 'OpenTelemetry data in',
  program: 'The program itself: health, figures, this document',
};

/** The OpenAPI 3.1 document of these routes and OTLP. @throws Error when a schema cannot be written into it */
export function openApiDocument(routes: readonly Route[]): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    paths[route.path] ??= {};
    paths[route.path][route.method] = operation(route);
  }
  const sorted = Object.entries(paths).sort(([a], [b]) => (a < b ? -1 : 1));
  const tags = [...new Set(['otlp', ...sorted.map(([path]) => tagOf(path)), 'program'])];
  return {
    openapi: '3.1.0',
    info: {
      title: 'TelemetryFlow',
      version: VERSION,
      description: INTRODUCTION,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    tags: tags.map((name) => ({ name, ...(TAGS[name] ? { description: TAGS[name] } : {}) })),
    paths: { ...otlpPaths(), ...Object.fromEntries(sorted) },
    components: COMPONENTS,
  };
}

/** The first word of the path within the API. */
function tagOf(path: string): string {
  return /^\/api\/v1\/([^/]+)/.exec(path)?.[1] ?? 'program';
}

function operation(route: Route): JsonSchema {
  const { method, path, isPublic, permission, description } = route;
  return {
    operationId: operationIdOf(method, path),
    tags: [tagOf(path)],
    summary: description.summary,
    description: [description.description, takes(route)].filter(Boolean).join('\n\n'),
    ...(permission ? { 'x-permission': permission } : {}),
    security: isPublic ? [] : [{ bearer: [] }, { api_key: [] }],
    parameters: [
      ...pathParameters(route),
      ...queryParameters(route),
      ...(isPublic ? [] : [parameterRef('tenant_id')]),
      parameterRef('correlation_id'),
    ],
    ...(description.body
      ? {
          requestBody: {
            required: true,
            content: { 'application/json': { schema: jsonSchema(description.body, 'input') } },
          },
        }
      : {}),
    responses: {
      ...Object.fromEntries(
        [successStatus(route), ...(description.statuses ?? [])].map((status) => [status, success(route)]),
      ),
      ...refusals(errorsOf(route), isLimited(route), { 'application/json': { schema: schemaRef('Error') } }),
    },
  };
}

function takes({ isPublic, permission }: Route): string {
  if (isPublic) return 'Takes no credential.';
  return permission ? `Takes the permission \`${permission}\`.` : 'Takes any credential.';
}

/** `get /api/v1/traces/{trace_id}` -> `getApiV1TracesByTraceId`. */
function operationIdOf(method: string, path: string): string {
  const words = path.replace(/\{(\w+)\}/g, 'by_$1').split(/[^A-Za-z0-9]+/);
  return method + words.map((word) => word.slice(0, 1).toUpperCase() + word.slice(1)).join('');
}

function pathParameters({ path, description }: Route): JsonSchema[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => {
    const known = description.params?.shape[name];
    const schema = known ? jsonSchema(known, 'input') : { type: 'string' };
    return parameter(name, 'path', true, schema);
  });
}

function queryParameters({ description }: Route): JsonSchema[] {
  const { query, attributes = [] } = description;
  const json = query ? jsonSchema(query, 'input') : {};
  const required = (json.required ?? []) as string[];
  const named = Object.entries((json.properties ?? {}) as Record<string, JsonSchema>).map(([name, schema]) =>
    parameter(name, 'query', required.includes(name), schema),
  );
  return [...named, ...attributes.map(attributeParameter)];
}

function parameter(name: string, place: 'path' | 'query', required: boolean, schema: JsonSchema): JsonSchema {
  const { description, ...rest } = schema;
  return { name, in: place, required, ...(description ? { description } : {}), schema: rest };
}

/** An object in the query string becomes one parameter per key, whose name the client writes whole: `attr.http.route`. */
function attributeParameter({ prefix, meaning }: { prefix: string; meaning: string }): JsonSchema {
  const name = `${prefix}<key>`;
  return {
    name,
    in: 'query',
    required: false,
    description: `\`${prefix}<key>=value\` for any key: ${meaning}. Values compare as text; given twice they mean either, different keys must all match.`,
    style: 'form',
    explode: true,
    example: { [`${prefix}http.route`]: '/cart' },
    schema: {
      type: 'object',
      patternProperties: {
        [`^${prefix.replaceAll('.', '\\.')}.+$`]: { type: ['string', 'array'], items: { type: 'string' } },
      },
      additionalProperties: false,
    },
  };
}

function successStatus({ method, description }: Route): number {
  return description.status ?? (method === 'post' ? 201 : 200);
}

function success(route: Route): JsonSchema {
  const { response, list, contentType, summary } = route.description;
  const headers = answerHeaders(isLimited(route));
  const description = `Answer to: ${summary}`;
  if (contentType)
    return { description, headers, content: { [contentType]: { schema: { type: 'string' } } } };
  const schema = list
    ? pageOf(jsonSchema(list, 'output'))
    : response
      ? jsonSchema(response, 'output')
      : undefined;
  return { description, headers, ...(schema ? { content: { 'application/json': { schema } } } : {}) };
}

function pageOf(item: JsonSchema): JsonSchema {
  return {
    type: 'object',
    required: ['data', 'page', 'limit', 'total_pages', 'next_cursor'],
    properties: {
      data: { type: 'array', items: item },
      page: { type: 'integer' },
      limit: { type: 'integer' },
      total_pages: { type: 'integer', description: 'An estimate.' },
      next_cursor: {
        type: ['string', 'null'],
        description: 'For `cursor` of the next page; null on the last.',
      },
      meta: schemaRef('Meta'),
    },
  };
}

/** Whether requests count against a limit. */
function isLimited({ isPublic, description }: Route): boolean {
  return !isPublic || (description.errors ?? []).includes('RATE_LIMITED');
}

function errorsOf({ path, isPublic, description }: Route): ErrorCode[] {
  const { query, body, errors = [] } = description;
  const hasParams = path.includes('{');
  const codes: ErrorCode[] = [...errors];
  if (query || body || hasParams) codes.push('INVALID_ARGUMENT');
  if (hasParams) codes.push('NOT_FOUND');
  if (body) codes.push('BODY_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE');
  if (!isPublic) codes.push('UNAUTHENTICATED', 'PERMISSION_DENIED', 'RATE_LIMITED', 'UNAVAILABLE');
  return codes;
}
