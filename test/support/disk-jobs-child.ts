import { DiskJobQueues } from '../../src/disk-jobs/disk-jobs.js';
import { workInChild } from '../../src/jobs/job-queues.suite.js';
import { type AllQueueNumbers, QUEUE_NAMES, type QueueNumbers } from '../../src/queue-numbers.js';

/** A process that works off the jobs of a directory, until it is killed. Arguments: directory, numbers as JSON. */
const [directory, text] = process.argv.slice(2);
const numbers = JSON.parse(text) as QueueNumbers;
const all = Object.fromEntries(QUEUE_NAMES.map((name) => [name, numbers])) as AllQueueNumbers;
workInChild(await DiskJobQueues.open({ directory, numbers: all }));
// Nothing of the queues keeps a process alive that has no work.
setInterval(() => undefined, 60_000);
