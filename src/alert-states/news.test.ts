import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MINUTE, RULE } from '../../test/support/condition.js';
import { type GroupRecord, isWorthKeeping, KNOWN_MS, newsOf, type TellRules } from './news.js';
import type { Condition, Measurement } from './transition.js';

const TELL: TellRules = { cooldownMs: 0, reminderMs: null };

/** [minute, what is measured, what changes and is told, whether it is silenced] */
type Step = [minute: number, measured: Measurement, expected: string, silenced?: boolean];

function walk(steps: Step[], tell: Partial<TellRules> = {}): GroupRecord | undefined {
  let record: GroupRecord | undefined;
  let ids = 0;
  for (const [minute, measured, expected, silenced = false] of steps) {
    const before = new Map(record ? [['[]', record]] : []);
    const rules = { ...TELL, ...tell };
    const newId = () => `incident ${++ids}`;
    const [news] = newsOf(
      RULE,
      rules,
      before,
      ['[]'],
      () => measured,
      minute * MINUTE,
      newId,
      () => silenced,
    );
    assert.equal(`${news.change ?? '-'} ${news.tell ?? '-'}`, expected, `minute ${minute}`);
    record = news.after;
  }
  return record;
}

describe('What an evaluation means', () => {
  it('an incident from the first that fires to the first that does not', () => {
    walk([
      [0, 5, '- -'],
      [1, 15, 'open firing'],
      [2, 15, '- -'],
      [3, 5, 'resolve resolved'],
      [4, 15, 'open firing'],
    ]);
  });

  it('tells again when it gets worse, once, and not when it gets better', () => {
    walk([
      [0, 15, 'open firing'],
      [1, 25, 'raise firing'],
      [2, 15, 'lower -'],
      [3, 25, 'raise -'],
      [4, 5, 'resolve resolved'],
    ]);
  });

  it('tells once each time that its data is gone', () => {
    walk([
      [0, 15, 'open firing'],
      [1, 'missing', 'gone gone'],
      [2, 'missing', '- -'],
      [3, 15, 'back -'],
      [4, 'missing', 'gone gone'],
      [5, 5, 'resolve resolved'],
    ]);
  });

  it('tells what began under a silence when that is over, and nothing of what ended under it', () => {
    walk([
      [0, 15, 'open -', true],
      [1, 15, '- -', true],
      [2, 15, '- firing'],
      [3, 5, 'resolve resolved', true],
      [4, 15, 'open -', true],
      [5, 5, 'resolve -', true],
    ]);
  });

  it('waits for the cooldown to tell of the next one', () => {
    walk(
      [
        [0, 15, 'open firing'],
        [1, 5, 'resolve resolved'],
        [2, 15, 'open -'],
        [3, 15, '- -'],
        [4, 15, '- firing'],
      ],
      { cooldownMs: 3 * MINUTE },
    );
  });

  it('reminds, counted from what was told last', () => {
    walk(
      [
        [0, 15, 'open firing'],
        [1, 15, '- -'],
        [2, 15, '- reminder'],
        [3, 25, 'raise firing'],
        [4, 25, '- -'],
        [5, 25, '- reminder', false],
        [7, 25, '- -', true],
        [8, 25, '- reminder'],
      ],
      { reminderMs: 2 * MINUTE },
    );
  });

  it('is forgotten of a group that is fine, unless it is expected to send or cools down', () => {
    const record = walk([
      [0, 15, 'open firing'],
      [1, 5, 'resolve resolved'],
    ])!;
    const keeps = (rule: Partial<Condition>, tell: Partial<TellRules>, tickMs: number) =>
      isWorthKeeping({ ...RULE, ...rule }, { ...TELL, ...tell }, record, tickMs);
    assert.equal(keeps({}, {}, MINUTE), false);
    assert.equal(keeps({}, { cooldownMs: MINUTE }, MINUTE), true);
    assert.equal(keeps({}, { cooldownMs: MINUTE }, 2 * MINUTE), false);
    for (const rule of [{ noData: 'alert' }, { absent: true }] as const) {
      assert.equal(keeps(rule, {}, KNOWN_MS), true);
      assert.equal(keeps(rule, {}, MINUTE + KNOWN_MS), false);
    }
  });
});
