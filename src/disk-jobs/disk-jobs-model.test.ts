import { test } from 'node:test';
import fc from 'fast-check';
import { type JobCommand, JobsModel } from '../../test/support/jobs-model.js';
import { randomFrom } from '../../test/support/random.js';
import type { Operation } from '../../test/support/simulated-disk.js';

const operation = fc.constantFrom<Operation>(
  'sync',
  'sync',
  'writev',
  'writev',
  'create',
  'open',
  'truncate',
  'unlink',
  'syncDirectory',
);

const commands: fc.Arbitrary<JobCommand> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('add' as const),
      jobs: fc.integer({ min: 1, max: 6 }),
      bytes: fc.nat(300),
      delayMs: fc.constantFrom(0, 0, 0, 3),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('addAgain' as const), which: fc.nat(99) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('wait' as const), turns: fc.nat(60) }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('failSome' as const), share: fc.constantFrom(0, 0.3, 0.7) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom('kill', 'cutPower', 'close', 'tick', 'retryFailed', 'remove'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('pause', 'resume', 'resume') }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('failSoon' as const),
      operation,
      after: fc.nat(40),
      code: fc.constantFrom('EIO', 'ENOSPC'),
    }),
  },
);

async function play(seed: number, script: JobCommand[]): Promise<void> {
  const model = new JobsModel(randomFrom(seed));
  await model.open();
  for (const command of script) await model.run(command);
  await model.finish();
}

test('every acknowledged job is worked off or still there, whatever crashes and failures come between', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.array(commands, { minLength: 5, maxLength: 60, size: 'max' }), play),
    { numRuns: 60, includeErrorInReport: true },
  );
});
