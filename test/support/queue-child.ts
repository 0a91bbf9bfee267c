import { appendFileSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { DiskIngestQueue } from '../../src/queue/disk-ingest-queue.js';
import type { Signal } from '../../src/signal.js';
import { entryOf } from './queue-entries.js';

/**
 * A process to be killed: adds bodies from several clients, printing the name of each once it is acknowledged, while
 * workers take batches, write `id names...` as one line to the store file, and call them done; some they retry or fail.
 *
 * Arguments: queue directory, store file, prefix of the names.
 */
const [directory, storeFile, prefix] = process.argv.slice(2);
const CLIENTS = 8;

const queue = await DiskIngestQueue.open({
  directory,
  maxBacklogBytes: 1e9,
  segmentBytes: 200_000,
  reserveBytes: 100_000,
  maxMemoryBytes: 100_000,
  lazyMs: 20,
});
writeSync(1, 'open\n');

async function client(number: number): Promise<void> {
  for (let i = 0; ; i++) {
    const name = `${prefix}.${number}.${i}`;
    const signal: Signal = i % 2 ? 'traces' : 'logs';
    await queue.add(entryOf(name, { tenant: `t${number % 3}`, signal, bytes: 200 + ((i * 977) % 9000) }));
    writeSync(1, `${name}\n`);
  }
}

async function worker(signal: Signal): Promise<void> {
  for (let i = 0; ; i++) {
    const limits = { maxBytes: 20_000, maxItems: 100, maxAgeMs: 5 };
    const batch = await queue.take(signal, limits, new AbortController().signal);
    if (!batch) return;
    const names: string[] = [];
    for (const entry of batch.entries)
      names.push(
        Buffer.from(await entry.read())
          .toString()
          .replaceAll('\0', ''),
      );
    if (i % 9 === 7) {
      await queue.fail(batch, 'for a test');
      continue;
    }
    appendFileSync(storeFile, `${batch.id} ${names.join(' ')}\n`);
    await sleep(2);
    if (i % 9 === 3) queue.retry(batch, 5);
    else queue.done(batch);
  }
}

await Promise.all([
  ...[...Array(CLIENTS).keys()].map(client),
  worker('traces'),
  worker('logs'),
  worker('traces'),
]);
