import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { StartupError } from '../errors.js';
import { AGGREGATION, CLEANUP } from './declared.js';
import { JobHandlers } from './job-handlers.js';
import type { JobQueues } from './job-queue.js';

const declared = [AGGREGATION, CLEANUP];
const nothing = async () => undefined;

describe('The handlers of jobs', () => {
  it('are one for each declared queue, or the process does not start and says which', () => {
    const handlers = new JobHandlers();
    const refused = (message: RegExp) =>
      assert.throws(
        () => handlers.check(declared),
        (error) => error instanceof StartupError && message.test(error.message),
      );
    refused(/aggregation has no handler, cleanup has no handler/);
    handlers.register(AGGREGATION, nothing);
    refused(/^Job queues: cleanup has no handler$/);
    handlers.register(CLEANUP, nothing);
    handlers.check(declared);
    handlers.register(CLEANUP, nothing);
    refused(/^Job queues: cleanup has 2 handlers$/);
  });

  it('have a queue that is declared', () => {
    const handlers = new JobHandlers();
    handlers.register(CLEANUP, nothing);
    assert.throws(() => handlers.check([]), /cleanup is not declared/);
  });

  it('are set to work, each on its queue', () => {
    const handlers = new JobHandlers();
    const worked: string[] = [];
    handlers.register(AGGREGATION, nothing);
    handlers.register(CLEANUP, nothing);
    handlers.work({ work: (queue) => void worked.push(queue.name) } as Pick<JobQueues, 'work'> as JobQueues);
    assert.deepEqual(worked, ['aggregation', 'cleanup']);
  });
});
