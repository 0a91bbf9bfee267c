import { join } from 'node:path';
import { Global, Inject, Module, type OnApplicationShutdown } from '@nestjs/common';
import type { Logger } from 'pino';
import { allQueueNumbers, CONFIG, type Config } from '../config.js';
import { DiskJobQueues } from '../disk-jobs/disk-jobs.js';
import type { JournalReport } from '../journal/report.js';
import { LOGGER } from '../log.js';
import { RedisDurability } from './bullmq-redis.js';
import { JobHandlers } from './job-handlers.js';
import { JOB_QUEUES, type JobQueues } from './job-queue.js';

/** Redis database of the queues, unless the URL names one. */
const JOBS_DATABASE = 2;

interface OpenJobs {
  queues: JobQueues;
  /** Without Redis the disk keeps them. */
  durability: RedisDurability | undefined;
}
const OPEN_JOBS = Symbol('OPEN_JOBS');

/** @throws StartupError when Redis answers and may lose jobs; one that is away is looked at when it is there */
async function openJobs(config: Config, log: Logger): Promise<OpenJobs> {
  const numbers = allQueueNumbers(config);
  if (config.REDIS_URL === undefined) {
    const directory = join(config.DATA_DIR, 'jobs');
    const report = (event: JournalReport) => log.warn(event, 'jobs');
    return { queues: await DiskJobQueues.open({ directory, numbers, report }), durability: undefined };
  }
  // Loaded where it is used: it takes half a second of CPU time.
  const { BullMqJobs } = await import('./bullmq-jobs.js');
  const queues = await BullMqJobs.open({ url: config.REDIS_URL, database: JOBS_DATABASE, numbers, log });
  const durability = new RedisDurability(queues.connection, config.REDIS_ALLOW_VOLATILE === '1', log);
  try {
    if (queues.connection.isUp) await durability.look();
    durability.check();
  } catch (error) {
    await queues.close(0);
    throw error;
  }
  return { queues, durability };
}

/** Layer 3: background jobs. Features inject JOB_QUEUES to add them, and JobHandlers to do them. */
@Global()
@Module({
  providers: [
    JobHandlers,
    { provide: OPEN_JOBS, inject: [CONFIG, LOGGER], useFactory: openJobs },
    { provide: JOB_QUEUES, inject: [OPEN_JOBS], useFactory: ({ queues }: OpenJobs) => queues },
    { provide: RedisDurability, inject: [OPEN_JOBS], useFactory: ({ durability }: OpenJobs) => durability },
  ],
  exports: [JobHandlers, JOB_QUEUES, RedisDurability],
})
export class JobsModule implements OnApplicationShutdown {
  constructor(@Inject(JOB_QUEUES) private readonly queues: JobQueues) {}

  /** `main.ts` has closed them before; this is for a start that failed. */
  async onApplicationShutdown(): Promise<void> {
    await this.queues.close(0);
  }
}
