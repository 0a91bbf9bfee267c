import { spawn } from 'node:child_process';
import { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Redis as Client } from 'ioredis';
import pino from 'pino';
import { type RedisServer, startRedis } from '../../test/support/redis-server.js';
import { BullMqJobs } from './bullmq-jobs.js';
import { allQueues, jobQueuesContract } from './job-queues.suite.js';

const CHILD = fileURLToPath(new URL('../../test/support/bullmq-child.js', import.meta.url));
const log = pino({ level: 'silent' });
let server: RedisServer;

before(async () => {
  server = await startRedis();
});
after(() => server.stop());

jobQueuesContract('BullMQ', async () => {
  const client = new Client(server.url);
  await client.flushall();
  client.disconnect();
  const opened: BullMqJobs[] = [];
  return {
    isShared: true,
    open: async (numbers) => {
      const jobs = await BullMqJobs.open({
        url: server.url,
        database: 2,
        numbers: allQueues(numbers),
        log,
        times: { lockMs: 4_000, checkMs: 500 },
        requestMs: 10_000,
      });
      opened.push(jobs);
      return jobs;
    },
    startChild: (numbers) =>
      spawn(process.execPath, [CHILD, server.url, JSON.stringify(numbers)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      }),
    remove: async () => {
      await Promise.all(opened.map((jobs) => jobs.close(0)));
    },
  };
});
