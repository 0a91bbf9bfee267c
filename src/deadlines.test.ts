import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Deadlines } from './deadlines.js';

const late = () => new Error('late');

it('An answer is given as it came, however many wait for theirs', async () => {
  const deadlines = new Deadlines();
  const never = deadlines.within(new Promise(() => undefined), 100, late);
  const failed = deadlines.within(Promise.reject(new Error('refused')), 100, late);
  assert.equal(await deadlines.within(Promise.resolve(1), 100, late), 1);
  await assert.rejects(failed, /refused/);
  await assert.rejects(never, /late/);
  await assert.rejects(
    deadlines.within(sleep(10_000, 0, { ref: false }), 1, late),
    /late/,
    'also later ones',
  );
});

it('An answer that came while the process was busy is not too late', async () => {
  const deadlines = new Deadlines();
  const answer = deadlines.within(sleep(20, 'there'), 100, late);
  for (const until = performance.now() + 1_000; performance.now() < until; );
  assert.equal(await answer, 'there');
});
