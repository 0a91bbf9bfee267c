import { appendFileSync, writeSync } from 'node:fs';
import { DiskJobQueues } from '../../src/disk-jobs/disk-jobs.js';
import { allQueues, MODEL_QUEUE } from './jobs-model.js';

/**
 * A process to be killed: adds jobs from several clients, printing the id of each once it is acknowledged, while they are
 * worked off; each that is done is a line of the done file. Some fail at first.
 *
 * Arguments: directory, done file, prefix of the ids.
 */
const [directory, doneFile, prefix] = process.argv.slice(2);
const CLIENTS = 8;

const queues = await DiskJobQueues.open({
  directory,
  numbers: allQueues({ workers: 5, keepDone: 20 }),
  segmentBytes: 100_000,
  minDeadBytes: 50_000,
  reserveBytes: 100_000,
  lazyMs: 10,
});
writeSync(1, 'open\n');

queues.work(MODEL_QUEUE, async ({ id, payload, attempt }) => {
  await new Promise((resolve) => setImmediate(resolve));
  if (payload.n % 10 === 7 && attempt < 2) throw new Error('not yet');
  appendFileSync(doneFile, `${id}\n`);
});

async function client(number: number): Promise<void> {
  for (let n = 0; ; n++) {
    const id = `${prefix}.${number}.${n}`;
    const payload = { n, filling: 'x'.repeat((n * 97) % 2000) };
    await queues.addAll(MODEL_QUEUE, [{ id, payload, delayMs: n % 5 === 4 ? 10 : 0 }]);
    writeSync(1, `${id}\n`);
  }
}

await Promise.all([...Array(CLIENTS).keys()].map(client));
