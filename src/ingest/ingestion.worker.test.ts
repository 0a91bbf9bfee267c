import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import pino from 'pino';
import { Registry } from 'prom-client';
import { entryOf, temporaryDirectory } from '../../test/support/queue-entries.js';
import { until } from '../../test/support/until.js';
import type { StaleAnswers } from '../answers/stale-answers.js';
import type { ClickHouse } from '../connections/clickhouse.js';
import type { Ledger } from '../ledger/ledger.js';
import { BodyPool } from '../memory/body-pool.js';
import { IngestCounters } from '../monitoring/ingest-counters.js';
import { DiskIngestQueue } from '../queue/disk-ingest-queue.js';
import type { TouchedHours } from '../series/touched-hours.js';
import type { TranscodePool } from '../threads/thread.js';
import { ThreadError, type TranscodeRequest } from '../threads/thread-messages.js';
import { IngestionWorker } from './ingestion.worker.js';

/** A worker on a queue with these bodies, whose threads make no rows and fail as `fault` says. */
async function workOff(context: TestContext, texts: string[], fault: (texts: string[]) => Error | undefined) {
  const directory = await temporaryDirectory(context);
  const bodies = new BodyPool();
  const queue = await DiskIngestQueue.open({
    directory: join(directory, 'queue'),
    maxBacklogBytes: 1e9,
    bodies,
    perSecond: 1e6,
    report: () => undefined,
  });
  for (const text of texts) await queue.add(entryOf(text));
  const tried: string[][] = [];
  const transcode = async ({ entries }: TranscodeRequest) => {
    const inBatch = entries.map(({ body }) => Buffer.from(body).toString());
    tried.push(inBatch);
    const error = fault(inBatch);
    if (error) throw error;
    return { rows: 0, columns: [], structure: '', fileBytes: 0, times: undefined };
  };
  const answers = { dropAll: () => undefined, stored: () => undefined, close: async () => undefined };
  const ledger: Pick<Ledger, 'stored' | 'room' | 'flush'> = {
    stored: (_batch, _rows, done) => done(),
    room: async () => undefined,
    flush: async () => undefined,
  };
  const worker = new IngestionWorker(
    queue,
    { size: 1, transcode, transcodeApart: transcode } as unknown as TranscodePool,
    bodies,
    undefined as unknown as ClickHouse,
    join(directory, 'spool'),
    answers as unknown as StaleAnswers,
    undefined as unknown as TouchedHours,
    ledger,
    new IngestCounters(new Registry()),
    { workers: 3, tries: 2, firstBackoffMs: 1 },
    pino({ level: 'silent' }),
  );
  worker.start();
  context.after(async () => {
    await worker.stop();
    await queue.close();
  });
  return { queue, tried };
}

describe('The ingestion worker', () => {
  it('sets the one request aside on which the thread fails, and goes on with those beside it', async (context) => {
    const fault = (texts: string[]) =>
      texts.includes('bad') ? new ThreadError('cannot read it') : undefined;
    const { queue } = await workOff(context, ['a', 'bad', 'b'], fault);
    await until('all is done', () => queue.stats().waitingEntries === 0);
    assert.deepEqual(
      (await queue.failed()).map(({ reason }) => reason),
      ['cannot read it'],
    );
  });

  it('gives nothing up while the disk is full', async (context) => {
    let isFull = true;
    const fault = () => (isFull ? Object.assign(new ThreadError('full'), { code: 'ENOSPC' }) : undefined);
    const { queue, tried } = await workOff(context, ['a', 'b'], fault);
    await until('it is tried more often than a bad request', () => tried.length > 4);
    isFull = false;
    await until('all is done', () => queue.stats().waitingEntries === 0);
    assert.deepEqual(await queue.failed(), []);
  });
});
