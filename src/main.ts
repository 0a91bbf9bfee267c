import 'reflect-metadata';
import type { RequestListener, Server } from 'node:http';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyInstance } from 'fastify';
import { AppModule } from './app.module.js';
import type { Config } from './config.js';
import { lockDataDir } from './connections/data-dir-lock.js';
import { StartupError } from './errors.js';
import { armFailpoint } from './failpoints.js';
import { createGrpcServer } from './grpc.js';
import { closeHttpServer, createHttpServer, listen } from './http.js';
import { IngestionWorker } from './ingest/ingestion.worker.js';
import { Intake } from './ingest/intake.js';
import { OtlpGrpc } from './ingest/otlp-grpc.js';
import { OtlpHttp } from './ingest/otlp-http.js';
import { createLogger } from './log.js';
import { INGEST_QUEUE, type IngestQueue } from './queue/ingest-queue.js';

/** Where a running instance listens; ports are the real ones where 0 was asked for. */
export interface Running {
  host: string;
  apiPort: number;
  otlpHttpPort: number;
  otlpGrpcPort: number;
  /** Stops in reverse order of the start; nothing acknowledged is lost. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Starts the program: lock, connections, migrations, roles, listen.
 *
 * @throws StartupError when a setting, a port, a lock or a migration stands in the way
 */
export async function start(config: Config): Promise<Running> {
  const log = createLogger(config.LOG_LEVEL);
  armFailpoint(config.FAILPOINT);
  const unlock = takeDataDir(config.DATA_DIR);
  let stopping: Promise<void> | undefined;
  try {
    const { app, apiServer } = await createApp(config, log);
    const otlp = app.get(OtlpHttp);
    const otlpServer = createHttpServer((request, response) => void otlp.handle(request, response, 200));
    const otlpGrpc = app.get(OtlpGrpc);
    const grpc = createGrpcServer((call) => void otlpGrpc.handle(call));
    const stop = async () => {
      app.get(Intake).stop();
      otlpGrpc.stop();
      await Promise.all([closeHttpServer(otlpServer), grpc.close(), closeHttpServer(apiServer)]);
      await app.get(IngestionWorker).stop();
      await app.get<IngestQueue>(INGEST_QUEUE).close();
      await app.close();
      unlock();
    };
    try {
      const apiPort = await listen(apiServer, config.HOST, config.PORT, 'PORT');
      const otlpHttpPort = await listen(otlpServer, config.HOST, config.OTLP_HTTP_PORT, 'OTLP_HTTP_PORT');
      const otlpGrpcPort = await listen(grpc.server, config.HOST, config.OTLP_GRPC_PORT, 'OTLP_GRPC_PORT');
      if (config.TF_ROLES.has('worker')) app.get(IngestionWorker).start();
      const ports = { apiPort, otlpHttpPort, otlpGrpcPort };
      return { host: config.HOST, ...ports, stop: () => (stopping ??= stop()) };
    } catch (error) {
      await stop();
      throw error;
    }
  } catch (error) {
    unlock();
    throw error;
  }
}

function takeDataDir(dataDir: string): () => void {
  try {
    return lockDataDir(dataDir);
  } catch (error) {
    if (error instanceof StartupError) throw error;
    throw new StartupError(`DATA_DIR ${dataDir} cannot be used: ${(error as Error).message}`);
  }
}

async function createApp(config: Config, log: ReturnType<typeof createLogger>) {
  let otlp: OtlpHttp | undefined;
  let apiServer: Server | undefined;
  const adapter = new FastifyAdapter({
    genReqId: () => crypto.randomUUID(),
    requestIdHeader: 'x-correlation-id',
    routerOptions: { ignoreTrailingSlash: true },
    // OTLP also comes in on the API port; it takes the same path as on its own, past the framework.
    serverFactory: (handler: RequestListener) => {
      apiServer = createHttpServer((request, response) => {
        if (otlp && request.url?.startsWith('/v1/')) void otlp.handle(request, response, 202);
        else handler(request, response);
      });
      return apiServer;
    },
  });
  const app = await NestFactory.create<NestFastifyApplication>(AppModule.with(config, log), adapter, {
    logger: false,
    abortOnError: false,
  });
  const fastify = app.getHttpAdapter().getInstance() as unknown as FastifyInstance;
  fastify.addHook('onSend', async (request, reply) => {
    reply.header('x-correlation-id', request.id);
    reply.header('cache-control', 'no-store');
    reply.header('x-content-type-options', 'nosniff');
  });
  await app.init();
  await fastify.ready();
  otlp = app.get(OtlpHttp);
  return { app, apiServer: apiServer! };
}
