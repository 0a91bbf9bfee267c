import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { allQueues, MODEL_QUEUE } from '../../test/support/jobs-model.js';
import { temporaryDirectory } from '../../test/support/queue-entries.js';
import { until } from '../../test/support/until.js';
import { DiskJobQueues } from './disk-jobs.js';

const CHILD = fileURLToPath(new URL('../../test/support/disk-jobs-killed.js', import.meta.url));
const ROUNDS = 12;

/** Runs a child on the directory and kills it; returns the ids it acknowledged. */
async function killedChild(directory: string, doneFile: string, round: number): Promise<string[]> {
  const child = spawn(process.execPath, [CHILD, directory, doneFile, `r${round}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  while (!output.includes('open')) await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
  await sleep(50 + Math.random() * 150);
  child.kill('SIGKILL');
  await once(child, 'close');
  // A line without its end was not printed whole; the client behind it was not answered.
  return output.split('\n').slice(1, -1);
}

test(`${ROUNDS} times kill -9 while adding and working: every acknowledged job is done`, async (context) => {
  const base = await temporaryDirectory(context);
  const [directory, doneFile] = [join(base, 'jobs'), join(base, 'done')];
  const acknowledged: string[] = [];
  for (let round = 0; round < ROUNDS; round++)
    acknowledged.push(...(await killedChild(directory, doneFile, round)));
  const lines = (await readFile(doneFile, 'utf8')).trim().split('\n');
  const done = new Set(lines);
  const queues = await DiskJobQueues.open({
    directory,
    numbers: allQueues(),
    report: (report) => assert.equal(report.kind, 'torn', JSON.stringify(report)),
  });
  const poison = await queues.retryFailed('cleanup');
  const before = done.size;
  let again = 0;
  queues.work(MODEL_QUEUE, async ({ id }) => {
    if (done.has(id)) again++;
    done.add(id);
  });
  await until('all done', async () => {
    const { waiting, active, delayed } = await queues.stats('cleanup');
    return waiting + active + delayed === 0;
  });
  await queues.close(0);
  assert.deepEqual(
    acknowledged.filter((id) => !done.has(id)),
    [],
    'acknowledged and lost',
  );
  assert.ok(acknowledged.length > ROUNDS * 5 && before > ROUNDS, `${acknowledged.length} acknowledged`);
  context.diagnostic(
    `${acknowledged.length} acknowledged, ${before} done before the end, ${lines.length - before + again} done twice, ${poison} taken for poison`,
  );
});
