import pino from 'pino';
import { BullMqJobs } from '../../src/jobs/bullmq-jobs.js';
import { allQueues, workInChild } from '../../src/jobs/job-queues.suite.js';
import type { QueueNumbers } from '../../src/queue-numbers.js';

/** A process with the queues on Redis, that works or schedules: `url numbers [schedule]`. */
const [url, numbers, role] = process.argv.slice(2);
const jobs = await BullMqJobs.open({
  url,
  database: 2,
  numbers: allQueues(JSON.parse(numbers) as QueueNumbers),
  log: pino({ level: 'silent' }),
  times: { lockMs: 4_000, checkMs: 500 },
  requestMs: 10_000,
});
if (role === 'schedule') {
  jobs.schedule();
  process.stdout.write('schedules\n');
} else workInChild(jobs);
