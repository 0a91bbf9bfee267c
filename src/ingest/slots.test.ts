import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Slots } from './slots.js';

const never = new AbortController().signal;

it('gives out so many slots, in the order they were asked for, and more when the limit grows', async () => {
  const slots = new Slots(1);
  const given: string[] = [];
  const ask = (name: string) => slots.take(never).then(() => given.push(name));
  await ask('a');
  const asked = [ask('b'), ask('c'), ask('d')];
  slots.give();
  await asked[0];
  assert.deepEqual(given, ['a', 'b']);
  slots.limit = 2;
  await asked[1];
  slots.limit = 1;
  slots.give();
  await new Promise(setImmediate);
  assert.deepEqual(given, ['a', 'b', 'c'], 'one is still out');
  slots.give();
  await asked[2];
});

it('whoever calls off does not get one, and takes none away', async () => {
  const slots = new Slots(1);
  await slots.take(never);
  const abort = new AbortController();
  const calledOff = slots.take(abort.signal);
  abort.abort();
  assert.equal(await calledOff, false);
  assert.equal(await slots.take(abort.signal), false);
  slots.give();
  assert.equal(await slots.take(never), true);
});
