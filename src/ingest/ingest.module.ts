import type { BlockList } from 'node:net';
import { join } from 'node:path';
import { Module } from '@nestjs/common';
import type { Logger } from 'pino';
import { StaleAnswers } from '../answers/stale-answers.js';
import { CONFIG, type Config } from '../config.js';
import { ClickHouse } from '../connections/clickhouse.js';
import { Credentials } from '../edge/credentials.js';
import { QUOTAS, type Quotas } from '../edge/quota.js';
import { RateLimiter } from '../edge/rate-limiter.js';
import { TRUSTED_PROXIES } from '../edge/remote-address.js';
import { Canary } from '../ledger/canary.js';
import { CANARY_SCOPE } from '../ledger/canary-scope.js';
import { Freshness } from '../ledger/freshness.js';
import { Ledger } from '../ledger/ledger.js';
import { LOGGER } from '../log.js';
import { BodyPool } from '../memory/body-pool.js';
import { ByteBudget } from '../memory/byte-budget.js';
import { IngestCounters } from '../monitoring/ingest-counters.js';
import { INGEST_QUEUE, type IngestQueue } from '../queue/ingest-queue.js';
import { acceptedDays } from '../retention.js';
import { TouchedHours } from '../series/touched-hours.js';
import { TranscodePool, TranscodeThread } from '../threads/thread.js';
import { Acceptor } from './acceptor.js';
import { Admission } from './admission.js';
import { FailedKeeper } from './failed-keeper.js';
import { IngestionWorker } from './ingestion.worker.js';
import { Intake } from './intake.js';
import { OtlpGrpc } from './otlp-grpc.js';
import { OtlpHttp } from './otlp-http.js';

const MIB = 1024 * 1024;

/** Bodies in hand at once, as part of the memory budget, and how long a request waits for its turn. */
const BUDGET_SHARE = 1 / 32;
const MIN_BUDGET_BYTES = 64 * MIB;
const MAX_WAIT_MS = 3000;

/** One thread answers requests (JSON, large bodies), the others make batches, so that neither waits for the other. */
const REQUEST_THREAD = Symbol('REQUEST_THREAD');
const THREAD_HEAP_MB = 512;

@Module({
  providers: [
    { provide: REQUEST_THREAD, useFactory: () => new TranscodeThread('otlp-request', THREAD_HEAP_MB) },
    {
      provide: TranscodePool,
      inject: [CONFIG],
      useFactory: ({ cpuCount, FAILPOINT }: Config) =>
        new TranscodePool(Math.max(1, cpuCount - 1), 'otlp-batch', THREAD_HEAP_MB, FAILPOINT),
    },
    {
      provide: Acceptor,
      inject: [INGEST_QUEUE, REQUEST_THREAD, BodyPool, CONFIG, IngestCounters, QUOTAS, Ledger],
      useFactory: (
        queue: IngestQueue,
        thread: TranscodeThread,
        bodies: BodyPool,
        config: Config,
        counters: IngestCounters,
        quotas: Quotas,
        ledger: Ledger,
      ) => new Acceptor(queue, thread, bodies, acceptedDays(config), counters, quotas, ledger),
    },
    {
      provide: Admission,
      inject: [Credentials, RateLimiter, QUOTAS, TRUSTED_PROXIES],
      useFactory: (
        credentials: Credentials,
        limiter: RateLimiter,
        quotas: Quotas,
        proxies: BlockList | undefined,
      ) => new Admission(credentials, limiter, quotas, proxies),
    },
    {
      provide: Intake,
      inject: [Admission, BodyPool, Acceptor, CONFIG, IngestCounters, LOGGER],
      useFactory: (
        admission: Admission,
        bodies: BodyPool,
        acceptor: Acceptor,
        config: Config,
        counters: IngestCounters,
        log: Logger,
      ) => {
        const budget = new ByteBudget(
          Math.max(MIN_BUDGET_BYTES, config.MEMORY_LIMIT * BUDGET_SHARE),
          MAX_WAIT_MS,
        );
        const limits = { maxBodyBytes: config.MAX_BODY_BYTES, maxInflatedBytes: config.MAX_INFLATED_BYTES };
        return new Intake(admission, budget, bodies, acceptor, limits, counters, log);
      },
    },
    {
      provide: OtlpHttp,
      inject: [Intake, BodyPool],
      useFactory: (intake: Intake, bodies: BodyPool) => new OtlpHttp(intake, bodies),
    },
    {
      provide: OtlpGrpc,
      inject: [Intake, BodyPool],
      useFactory: (intake: Intake, bodies: BodyPool) => new OtlpGrpc(intake, bodies),
    },
    {
      provide: FailedKeeper,
      inject: [INGEST_QUEUE, CONFIG, IngestCounters, LOGGER],
      useFactory: (queue: IngestQueue, config: Config, counters: IngestCounters, log: Logger) =>
        new FailedKeeper(queue, config.QUEUE_OTLP_INGESTION, counters, log),
    },
    {
      provide: IngestionWorker,
      inject: [
        INGEST_QUEUE,
        TranscodePool,
        BodyPool,
        ClickHouse,
        CONFIG,
        StaleAnswers,
        Ledger,
        IngestCounters,
        LOGGER,
      ],
      useFactory: (
        queue: IngestQueue,
        threads: TranscodePool,
        bodies: BodyPool,
        clickhouse: ClickHouse,
        config: Config,
        answers: StaleAnswers,
        ledger: Ledger,
        counters: IngestCounters,
        log: Logger,
      ) => {
        const spoolDir = join(config.DATA_DIR, 'spool');
        const numbers = config.QUEUE_OTLP_INGESTION;
        return new IngestionWorker(
          queue,
          threads,
          bodies,
          clickhouse,
          spoolDir,
          answers,
          new TouchedHours(clickhouse),
          ledger,
          counters,
          numbers,
          log,
        );
      },
    },
    {
      provide: Canary,
      inject: [Acceptor, BodyPool, ClickHouse, Freshness, CONFIG, LOGGER],
      useFactory: (
        acceptor: Acceptor,
        bodies: BodyPool,
        clickhouse: ClickHouse,
        freshness: Freshness,
        config: Config,
        log: Logger,
      ) => {
        const send = async (body: Buffer) => {
          await acceptor.accept(CANARY_SCOPE, 'logs', 'protobuf', bodies.copyOf(body));
        };
        return new Canary(send, clickhouse, freshness, config.CANARY_INTERVAL_MS, log);
      },
    },
  ],
  exports: [Canary, Intake, OtlpHttp, OtlpGrpc, IngestionWorker, FailedKeeper],
})
export class IngestModule {}
