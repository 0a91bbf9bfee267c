import 'reflect-metadata';
import { DataSource } from 'typeorm';
import { type FirstStart, makeFirstAdmin } from './access/first-start.js';
import { SignInCodes } from './access/sign-in.js';
import { AppModule } from './app.module.js';
import { type Config, isLoopbackHost } from './config.js';
import { lockDataDir } from './data-dir-lock.js';
import { AUDIT } from './edge/audit.js';
import { DEFAULT_SCOPE } from './edge/scope.js';
import { StartupError } from './errors.js';
import { LogTails } from './explore/log-tails.js';
import { armFailpoint } from './failpoints.js';
import { createApi } from './http/api-server.js';
import { ConnectionLimit } from './http/connection-limit.js';
import { Entry } from './http/entry.js';
import { createGrpcServer } from './http/grpc-server.js';
import { closeHttpServer, createHttpServer, listen } from './http/server.js';
import { FailedKeeper } from './ingest/failed-keeper.js';
import { IngestionWorker } from './ingest/ingestion.worker.js';
import { Intake } from './ingest/intake.js';
import { OtlpGrpc } from './ingest/otlp-grpc.js';
import { OtlpHttp } from './ingest/otlp-http.js';
import { DECLARED } from './jobs/declared.js';
import { JobHandlers } from './jobs/job-handlers.js';
import { JOB_QUEUES, type JobQueues } from './jobs/job-queue.js';
import { Canary } from './ledger/canary.js';
import { createLogger } from './log.js';
import { INGEST_QUEUE, type IngestQueue } from './queue/ingest-queue.js';

/** For the jobs in hand when the program stops; of the 30 s for everything. */
const JOBS_GRACE_MS = 10_000;

/** Where a running instance listens; ports are the real ones where 0 was asked for. */
export interface Running {
  host: string;
  apiPort: number;
  /** Undefined where the process has not the role `api`. */
  otlpHttpPort: number | undefined;
  otlpGrpcPort: number | undefined;
  /** Secrets to show once, on the first start alone. */
  firstStart: FirstStart | undefined;
  /** Logs the local admin in, once; only where nobody else reaches the API. */
  signInCode: string | undefined;
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
    const otlpGrpc = app.get(OtlpGrpc);
    const jobs = app.get<JobQueues>(JOB_QUEUES);
    app.get(JobHandlers).check(DECLARED);
    const grpc = createGrpcServer((call) => void otlpGrpc.handle(call));
    const stop = async () => {
      await app.get(Canary).stop();
      app.get(LogTails).stop();
      app.get(Intake).stop();
      otlpGrpc.stop();
      await Promise.all([closeHttpServer(otlpServer), grpc.close(), closeHttpServer(apiServer)]);
      app.get(FailedKeeper).stop();
      await Promise.all([app.get(IngestionWorker).stop(), jobs.close(JOBS_GRACE_MS)]);
      await app.get<IngestQueue>(INGEST_QUEUE).close();
      await app.close();
      unlock();
    };
    try {
      const apiPort = await listen(apiServer, config.HOST, config.PORT, 'PORT');
      const isApi = config.TF_ROLES.has('api');
      const otlpHttpPort = isApi
        ? await listen(otlpServer, config.HOST, config.OTLP_HTTP_PORT, 'OTLP_HTTP_PORT')
        : undefined;
      const otlpGrpcPort = isApi
        ? await listen(grpc.server, config.HOST, config.OTLP_GRPC_PORT, 'OTLP_GRPC_PORT')
        : undefined;
      if (config.TF_ROLES.has('worker')) {
        app.get(IngestionWorker).start();
        app.get(FailedKeeper).start();
        app.get(Canary).start();
        app.get(JobHandlers).work(jobs);
      }
      if (config.TF_ROLES.has('scheduler')) jobs.schedule();
      // When nothing can stop the start any more: the password is told once, and must not be lost.
      const firstStart = isApi
        ? await makeFirstAdmin(app.get(DataSource), app.get(DEFAULT_SCOPE), app.get(AUDIT))
        : undefined;
      return {
        host: config.HOST,
        apiPort,
        otlpHttpPort,
        otlpGrpcPort,
        firstStart,
        signInCode: hasSignIn(config) ? app.get(SignInCodes).issue(Date.now()) : undefined,
        stop: () => (stopping ??= stop()),
      };
    } catch (error) {
      await stop();
      throw error;
    }
  } catch (error) {
    unlock();
    throw error;
  }
}

const hasSignIn = (config: Config) => config.TF_ROLES.has('api') && isLoopbackHost(config.HOST);

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
  const isApi = config.TF_ROLES.has('api');
  const { app, server: apiServer } = await createApi(
    AppModule.with(config, log),
    { trustedProxies: config.TRUST_PROXY, onlyWatched: !isApi },
    (handler) =>
      createHttpServer(entry, connections, (request, response) => {
        // OTLP also comes in on the API port; it takes the same path as on its own, past the framework.
        if (otlp && request.url?.startsWith('/v1/')) void otlp.handle(request, response, 202);
        else handler(request, response);
      }),
  );
  const ingest = app.get(OtlpHttp);
  if (isApi) otlp = ingest;
  const otlpServer = createHttpServer(
    entry,
    connections,
    (request, response) => void ingest.handle(request, response, 200),
  );
  return { app, apiServer, otlpServer };
}
