import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Lots } from './lots.js';

describe('Questions that are answered in lots', () => {
  it('are one lot when they come together, and those that come meanwhile the next', async () => {
    const lots: number[][] = [];
    let open: () => void = () => undefined;
    const doubles = new Lots(async (numbers: readonly number[]) => {
      lots.push([...numbers]);
      if (lots.length === 1) await new Promise<void>((resolve) => (open = resolve));
      return numbers.map((number) => 2 * number);
    });
    const first = [1, 2, 3].map((number) => doubles.ask(number));
    await turn();
    await turn();
    const second = [4, 5].map((number) => doubles.ask(number));
    open();
    assert.deepEqual(await Promise.all([...first, ...second]), [2, 4, 6, 8, 10]);
    assert.deepEqual(lots, [
      [1, 2, 3],
      [4, 5],
    ]);
    assert.equal(await doubles.ask(6), 12);
  });

  it('do not suffer for one among them that has no answer', async () => {
    const doubles = new Lots(async (numbers: readonly number[]) => {
      if (numbers.includes(13)) throw new Error('thirteen');
      return numbers.map((number) => 2 * number);
    });
    const answers = await Promise.allSettled([1, 13, 2].map((number) => doubles.ask(number)));
    assert.deepEqual(
      answers.map((answer) => (answer.status === 'fulfilled' ? answer.value : answer.reason.message)),
      [2, 'thirteen', 4],
    );
  });

  it('are more than one lot when they are too many for one statement', async () => {
    const sizes: number[] = [];
    const same = new Lots(async (numbers: readonly number[]) => {
      sizes.push(numbers.length);
      return numbers;
    });
    const numbers = Array.from({ length: 1200 }, (_, n) => n);
    assert.deepEqual(await Promise.all(numbers.map((number) => same.ask(number))), numbers);
    assert.deepEqual(sizes, [500, 500, 200]);
  });
});
