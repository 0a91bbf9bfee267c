import type { RequestListener, Server } from 'node:http';
import type { DynamicModule, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyInstance } from 'fastify';
import { AppError } from '../errors.js';

/** Bodies of API requests are settings and names; telemetry does not pass here. */
const MAX_BODY_BYTES = 1024 * 1024;

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/**
 * Makes the application and its HTTP server, initialised and not yet listening. Bodies are JSON, 1 MiB at most; a path asked
 * for with a method that it does not have is 405.
 *
 * @param options `trustedProxies`: whose X-Forwarded-For is believed; `onlyWatched`: nothing is served but what a process that
 *   serves nobody is watched by, /health/* and /metrics
 * @param createServer makes the server for the framework's handler of requests
 */
export async function createApi(
  module: Type | DynamicModule,
  { trustedProxies, onlyWatched = false }: { trustedProxies: readonly string[]; onlyWatched?: boolean },
  createServer: (handler: RequestListener) => Server,
): Promise<{ app: NestFastifyApplication; server: Server }> {
  let server: Server | undefined;
  const adapter = new FastifyAdapter({
    // The entry has put a sane one there.
    requestIdHeader: 'x-correlation-id',
    routerOptions: { ignoreTrailingSlash: true },
    bodyLimit: MAX_BODY_BYTES,
    trustProxy: trustedProxies.length > 0 && [...trustedProxies],
    serverFactory: (handler: RequestListener) => {
      server = createServer(handler);
      return server;
    },
  });
  const fastify = adapter.getInstance() as unknown as FastifyInstance;
  fastify.removeContentTypeParser('text/plain');
  if (onlyWatched) fastify.addHook('onRequest', refuseUnwatched);
  const methodsOf = new Map<string, Set<string>>();
  fastify.addHook('onRoute', ({ url, method }) => {
    const methods = methodsOf.get(url) ?? new Set();
    for (const name of [method].flat()) methods.add(name);
    methodsOf.set(url, methods);
  });
  const app = await NestFactory.create<NestFastifyApplication>(module, adapter, {
    logger: false,
    abortOnError: false,
    bodyParser: false,
  });
  await app.init();
  refuseOtherMethods(fastify, methodsOf);
  await fastify.ready();
  return { app, server: server! };
}

async function refuseUnwatched({ url }: { url: string }): Promise<void> {
  if (/^\/(health\/(live|ready)|metrics)\/?(\?|$)/.test(url)) return;
  throw new AppError(
    'NOT_FOUND',
    'This process has no API: TF_ROLES names other work. Only /health/* and /metrics are here.',
  );
}

/** The router knows a path only together with a method, and would call every other one not found. */
function refuseOtherMethods(fastify: FastifyInstance, methodsOf: Map<string, Set<string>>): void {
  for (const [url, methods] of [...methodsOf]) {
    const others = METHODS.filter((method) => !methods.has(method));
    if (others.length === 0) continue;
    const allowed = [...methods].join(', ');
    fastify.route({
      method: others,
      url,
      // Before the body is read: whether it is well formed does not matter here.
      onRequest: async (request, reply) => {
        reply.header('allow', allowed);
        throw new AppError('METHOD_NOT_ALLOWED', `${url} takes ${allowed}, not ${request.method}.`);
      },
      handler: async () => undefined,
    });
  }
}
