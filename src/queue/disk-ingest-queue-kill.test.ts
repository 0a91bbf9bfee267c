import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { takeSoon, temporaryDirectory, textsOf } from '../../test/support/queue-entries.js';
import { DiskIngestQueue } from './disk-ingest-queue.js';

const CHILD = fileURLToPath(new URL('../../test/support/queue-child.js', import.meta.url));
const ROUNDS = 20;

/** Runs a child on the queue and kills it; returns the names it acknowledged. */
async function killedChild(directory: string, storeFile: string, round: number): Promise<string[]> {
  const child = spawn(process.execPath, [CHILD, directory, storeFile, `r${round}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  while (!output.includes('open')) await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
  await sleep(20 + Math.random() * 100);
  child.kill('SIGKILL');
  await once(child, 'close');
  // A line without its end was not printed whole; the client behind it was not answered.
  return output.split('\n').slice(1, -1);
}

/** Names in the store: of lines with the same batch id the first counts, as the store folds the others. */
function fold(lines: string[], stored: Map<string, string>): void {
  for (const line of lines) {
    const [id, ...names] = line.split(' ');
    const before = stored.get(id);
    if (before !== undefined) assert.equal(names.join(' '), before, `batch ${id} changed`);
    stored.set(id, names.join(' '));
  }
}

test(`${ROUNDS} times kill -9 while adding and storing: every acknowledged body is kept exactly once`, async (context) => {
  const base = await temporaryDirectory(context);
  const [directory, storeFile] = [join(base, 'queue'), join(base, 'store')];
  const acknowledged: string[] = [];
  for (let round = 0; round < ROUNDS; round++)
    acknowledged.push(...(await killedChild(directory, storeFile, round)));
  const stored = new Map<string, string>();
  fold((await readFile(storeFile, 'utf8')).trim().split('\n'), stored);
  const queue = await DiskIngestQueue.open({
    directory,
    maxBacklogBytes: 1e9,
    report: (report) => assert.ok(report.kind === 'torn', JSON.stringify(report)),
  });
  const fromStore = stored.size;
  await queue.retryFailed();
  while (queue.stats().waitingEntries > 0) {
    for (const signal of ['traces', 'logs'] as const) {
      const batch = await takeSoon(queue, { signal, patienceMs: 20 });
      if (!batch) continue;
      fold([[batch.id, ...(await textsOf(batch))].join(' ')], stored);
      queue.done(batch);
    }
  }
  await queue.close();
  const kept = [...stored.values()].flatMap((names) => names.split(' '));
  assert.equal(new Set(kept).size, kept.length, 'a body is kept twice');
  const isKept = new Set(kept);
  assert.deepEqual(
    acknowledged.filter((name) => !isKept.has(name)),
    [],
    'acknowledged and lost',
  );
  assert.ok(acknowledged.length > ROUNDS * 5 && fromStore > ROUNDS, `${acknowledged.length} acknowledged`);
  context.diagnostic(
    `${acknowledged.length} acknowledged, ${kept.length} kept, ${fromStore} batches stored before the end`,
  );
});
