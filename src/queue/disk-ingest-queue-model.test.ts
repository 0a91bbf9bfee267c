import { test } from 'node:test';
import fc from 'fast-check';
import { type Command, QueueModel, seeded } from '../../test/support/queue-model.js';
import type { Operation } from '../../test/support/simulated-disk.js';
import type { Signal } from '../signal.js';

const signal = fc.constantFrom<Signal>('traces', 'logs');
const operation = fc.constantFrom<Operation>(
  'sync',
  'sync',
  'writev',
  'writev',
  'create',
  'open',
  'read',
  'truncate',
  'rename',
  'unlink',
  'syncDirectory',
);
const which = fc.nat(9);

const commands: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant('add' as const),
      tenant: fc.nat(2),
      signal,
      content: fc.nat(40),
      bytes: fc.nat(700),
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('wait' as const), turns: fc.nat(30) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('take' as const),
      signal,
      maxBytes: fc.integer({ min: 1, max: 2000 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('finish' as const), which }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('insert', 'retry', 'split', 'fail'), which }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('kill', 'cutPower', 'close', 'retryFailed') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('fillDisk', 'freeDisk') }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('failSoon' as const), operation, after: fc.nat(300) }),
  },
);

async function play(seed: number, script: Command[]): Promise<void> {
  const model = new QueueModel(seeded(seed));
  await model.open();
  for (const command of script) await model.run(command);
  await model.finish();
}

test('stores every acknowledged body exactly once, whatever crashes and failures come between', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.array(commands, { minLength: 5, maxLength: 80, size: 'max' }), play),
    { numRuns: 300, includeErrorInReport: true },
  );
});
