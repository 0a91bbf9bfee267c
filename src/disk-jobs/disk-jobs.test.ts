import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { jobQueuesContract } from '../jobs/job-queues.suite.js';
import { type AllQueueNumbers, QUEUE_NAMES, type QueueNumbers } from '../queue-numbers.js';
import { DiskJobQueues } from './disk-jobs.js';

const CHILD = fileURLToPath(new URL('../../test/support/disk-jobs-child.js', import.meta.url));

const allWith = (numbers: QueueNumbers) =>
  Object.fromEntries(QUEUE_NAMES.map((name) => [name, numbers])) as AllQueueNumbers;

jobQueuesContract('on disk', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'jobs-'));
  const opened: DiskJobQueues[] = [];
  return {
    isShared: false,
    open: async (numbers) => {
      const queues = await DiskJobQueues.open({
        directory,
        numbers: allWith(numbers),
        report: (report) => assert.equal(report.kind, 'torn', JSON.stringify(report)),
      });
      opened.push(queues);
      return queues;
    },
    startChild: (numbers) =>
      spawn(process.execPath, [CHILD, directory, JSON.stringify(numbers)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      }),
    remove: async () => {
      for (const queues of opened) await queues.close(0);
      await rm(directory, { recursive: true, force: true });
    },
  };
});
