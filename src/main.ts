import 'reflect-metadata';
import { AppModule } from './app.module.js';
import type { Config } from './config.js';
import { lockDataDir } from './connections/data-dir-lock.js';
import { StartupError } from './errors.js';
import { armFailpoint } from './failpoints.js';
import { createApi } from './http/api-server.js';
import { ConnectionLimit } from './http/connection-limit.js';
import { Entry } from './http/entry.js';
import { closeHttpServer, createHttpServer, listen } from './http/server.js';
import { IngestionWorker } from './ingest/ingestion.worker.js';
import { OtlpHttp } from './ingest/otlp-http.js';
import { createLogger } from './log.js';
import { INGEST_QUEUE, type IngestQueue } from './queue/ingest-queue.js';

/** Where a running instance listens; ports are the real ones where 0 was asked for. */
export interface Running {
  host: string;
  apiPort: number;
  otlpHttpPort: number;
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
    const { app, apiServer, otlpServer } = await createServers(config, log);
    const otlp = app.get(OtlpHttp);
    const stop = async () => {
      otlp.stop();
      await Promise.all([closeHttpServer(otlpServer), closeHttpServer(apiServer)]);
      await app.get(IngestionWorker).stop();
      await app.get<IngestQueue>(INGEST_QUEUE).close();
      await app.close();
      unlock();
    };
    try {
      const apiPort = await listen(apiServer, config.HOST, config.PORT, 'PORT');
      const otlpHttpPort = await listen(otlpServer, config.HOST, config.OTLP_HTTP_PORT, 'OTLP_HTTP_PORT');
      if (config.TF_ROLES.has('worker')) app.get(IngestionWorker).start();
      return { host: config.HOST, apiPort, otlpHttpPort, stop: () => (stopping ??= stop()) };
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

/** The application and its two HTTP servers, which share what they know about clients and connections. */
async function createServers(config: Config, log: ReturnType<typeof createLogger>) {
  const entry = new Entry({ trustedProxies: config.TRUST_PROXY, corsOrigins: config.CORS_ORIGINS });
  const connections = new ConnectionLimit({
    total: config.MAX_CONNECTIONS,
    perAddress: config.MAX_CONNECTIONS_PER_ADDRESS,
    trusted: config.TRUST_PROXY,
  });
  let otlp: OtlpHttp | undefined;
  const { app, server: apiServer } = await createApi(AppModule.with(config, log), (handler) =>
    createHttpServer(entry, connections, (request, response) => {
      // OTLP also comes in on the API port; it takes the same path as on its own, past the framework.
      if (otlp && request.url?.startsWith('/v1/')) void otlp.handle(request, response, 202);
      else handler(request, response);
    }),
  );
  const ingest = app.get(OtlpHttp);
  otlp = ingest;
  const otlpServer = createHttpServer(
    entry,
    connections,
    (request, response) => void ingest.handle(request, response, 200),
  );
  return { app, apiServer, otlpServer };
}
