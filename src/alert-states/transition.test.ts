import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MINUTE, RULE } from '../../test/support/condition.js';
import {
  type Condition,
  type GroupState,
  levelOf,
  type Measurement,
  nextHealth,
  phaseOf,
  transition,
  unlessAway,
} from './transition.js';

/** [minute, what is measured, what is expected: phase, or firing level, with `gone` where it is] */
type Step = [minute: number, measured: Measurement, expected: string];

function shown(state: GroupState): string {
  const name = levelOf(state) ?? phaseOf(state);
  return state.goneMs === null ? name : `${name} gone`;
}

function walk(condition: Partial<Condition>, steps: Step[]): GroupState | undefined {
  let state: GroupState | undefined;
  for (const [minute, measured, expected] of steps) {
    state = transition({ ...RULE, ...condition }, measured, state, minute * MINUTE);
    assert.equal(shown(state), expected, `minute ${minute}, ${measured}`);
  }
  return state;
}

describe('An alert', () => {
  it('fires at the first evaluation when there is no `for`, and resolves at the first that is fine', () => {
    walk({}, [
      [0, 5, 'inactive'],
      [1, 11, 'warning'],
      [2, 10, 'inactive'],
      [3, 11, 'warning'],
    ]);
  });

  // Prometheus, docs/configuration/alerting_rules and rules/alerting_test.go.
  it('is pending until its condition has held for so long, at each evaluation, as in Prometheus', () => {
    walk({ forMs: 5 * MINUTE }, [
      [0, 15, 'pending'],
      [1, 15, 'pending'],
      [4, 15, 'pending'],
      [5, 15, 'warning'],
      [6, 15, 'warning'],
      [7, 5, 'inactive'],
    ]);
  });

  it('forgets what was pending when its condition does not hold once, as in Prometheus', () => {
    walk({ forMs: 2 * MINUTE }, [
      [0, 15, 'pending'],
      [1, 5, 'inactive'],
      [2, 15, 'pending'],
      [3, 15, 'pending'],
      [4, 15, 'warning'],
    ]);
  });

  it('keeps firing for so long after its condition last held, which begins anew when it holds again, as in Prometheus', () => {
    walk({ keepFiringMs: 3 * MINUTE }, [
      [0, 15, 'warning'],
      [1, 5, 'warning'],
      [2, 15, 'warning'],
      [3, 5, 'warning'],
      [4, 5, 'warning'],
      [5, 5, 'warning'],
      [6, 5, 'inactive'],
      [7, 5, 'inactive'],
    ]);
  });

  it('does not keep firing what was only pending', () => {
    walk({ forMs: MINUTE, keepFiringMs: 5 * MINUTE }, [
      [0, 15, 'pending'],
      [1, 5, 'inactive'],
    ]);
  });

  it('does not flap while it keeps firing', () => {
    const steps = Array.from({ length: 20 }, (_, minute): Step => [minute, minute % 2 ? 5 : 15, 'warning']);
    walk({ keepFiringMs: 2 * MINUTE }, steps);
  });

  it('has two levels, each of which has to hold for so long', () => {
    walk({ forMs: 2 * MINUTE }, [
      [0, 15, 'pending'],
      [1, 15, 'pending'],
      [2, 25, 'warning'],
      [3, 25, 'warning'],
      [4, 25, 'critical'],
      [5, 15, 'warning'],
      [6, 5, 'inactive'],
    ]);
  });

  it('goes from nothing to critical when both levels hold', () => {
    walk({ forMs: MINUTE }, [
      [0, 25, 'pending'],
      [1, 25, 'critical'],
    ]);
  });

  it('may have the critical level alone', () => {
    walk({ warning: null }, [
      [0, 15, 'inactive'],
      [1, 25, 'critical'],
    ]);
  });

  it('knows each operator', () => {
    const fires = (operator: Condition['operator'], value: number) =>
      phaseOf(transition({ ...RULE, operator, critical: null }, value, undefined, 0)) === 'firing';
    const values = [9, 10, 11];
    const expected: Record<string, boolean[]> = {
      '>': [false, false, true],
      '>=': [false, true, true],
      '<': [true, false, false],
      '<=': [true, true, false],
      '==': [false, true, false],
      '!=': [true, false, true],
    };
    for (const [operator, wanted] of Object.entries(expected))
      assert.deepEqual(
        values.map((value) => fires(operator as Condition['operator'], value)),
        wanted,
        operator,
      );
  });
});

/** What Prometheus tests and documents, with its values at each minute and what it says of them. */
describe('A published example of Prometheus', () => {
  const each = (from: number, to: number, value: number, expected: string): Step[] =>
    Array.from({ length: to - from + 1 }, (_, i) => [from + i, value, expected]);

  // https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/
  it('InstanceDown: up == 0 for 5m fires after 10 minutes for the instance that was always down', () => {
    const rule: Partial<Condition> = { operator: '==', warning: 0, critical: null, forMs: 5 * MINUTE };
    walk(rule, [...each(0, 4, 0, 'pending'), ...each(5, 10, 0, 'warning')]);
    walk(rule, [...each(0, 6, 1, 'inactive'), ...each(7, 10, 0, 'pending')]);
  });

  // https://github.com/prometheus/prometheus/blob/main/rules/alerting_test.go
  const high: Partial<Condition> = { warning: 50, critical: null, forMs: MINUTE, keepFiringMs: MINUTE };

  it('TestKeepFiringFor: goes on for a minute after its condition held last', () => {
    walk(high, [
      [0, 75, 'pending'],
      [1, 85, 'warning'],
      [2, 70, 'warning'],
      [3, 70, 'warning'],
      [4, 10, 'warning'],
      [5, 10, 'inactive'],
    ]);
  });

  it('TestPendingAndKeepFiringFor: what did not fire yet is not kept', () => {
    walk(high, [
      [0, 75, 'pending'],
      [1, 10, 'inactive'],
    ]);
  });

  it('TestAlertingRuleLabelsUpdate: each severity has to hold by itself; but data that ends does not end it here', () => {
    walk({ operator: '<', warning: null, critical: 80, forMs: MINUTE }, [
      [0, 75, 'pending'],
      [1, 85, 'inactive'],
      [2, 70, 'pending'],
      [3, 70, 'critical'],
      [4, 'missing', 'critical gone'],
    ]);
  });
});

describe('An alert without data', () => {
  it('that fires stays firing and says that its data is gone, whatever missing data means otherwise', () => {
    for (const noData of ['ok', 'alert', 'keep'] as const)
      walk({ noData, keepFiringMs: MINUTE }, [
        [0, 15, 'warning'],
        [1, 'missing', 'warning gone'],
        [2, 'missing', 'warning gone'],
        [600, 'missing', 'warning gone'],
        [601, 15, 'warning'],
        [602, 5, 'warning'],
        [603, 5, 'inactive'],
      ]);
  });

  it('is fine with `ok`: what was pending is forgotten', () => {
    walk({ noData: 'ok', forMs: 2 * MINUTE }, [
      [0, 15, 'pending'],
      [1, 'missing', 'inactive'],
      [2, 15, 'pending'],
    ]);
  });

  it('counts as a breach with `alert`, and has to last as one', () => {
    walk({ noData: 'alert', forMs: 2 * MINUTE }, [
      [0, 5, 'inactive'],
      [1, 'missing', 'pending'],
      [2, 'missing', 'pending'],
      [3, 'missing', 'warning'],
      [4, 'missing', 'warning'],
      [5, 5, 'inactive'],
    ]);
  });

  it('changes nothing with `keep`: what is pending neither fires nor ends', () => {
    walk({ noData: 'keep', forMs: 2 * MINUTE }, [
      [0, 15, 'pending'],
      [1, 'missing', 'pending'],
      [2, 'missing', 'pending'],
      [3, 'missing', 'pending'],
      [4, 15, 'warning'],
    ]);
    walk({ noData: 'keep' }, [
      [0, 5, 'inactive'],
      [1, 'missing', 'inactive'],
    ]);
  });

  it('fires for its absence where it is asked for, and resolves when it comes', () => {
    walk({ absent: true, missingLevel: 'critical', forMs: MINUTE, warning: null, critical: null }, [
      [0, 5, 'inactive'],
      [1, 'missing', 'pending'],
      [2, 'missing', 'critical'],
      [3, 99, 'inactive'],
    ]);
  });

  it('tells when the data was there last, and since when it is gone', () => {
    const state = walk({}, [
      [1, 15, 'warning'],
      [2, 'missing', 'warning gone'],
      [3, 'missing', 'warning gone'],
    ]);
    assert.equal(state?.seenMs, MINUTE);
    assert.equal(state?.goneMs, 2 * MINUTE);
    assert.equal(state?.value, null);
  });
});

describe('An alert whose question fails', () => {
  it('stays as it is', () => {
    walk({ forMs: 2 * MINUTE }, [
      [0, 15, 'pending'],
      [1, 'failed', 'pending'],
      [2, 'failed', 'pending'],
      [3, 15, 'warning'],
      [4, 'failed', 'warning'],
      [5, 5, 'inactive'],
      [6, 'failed', 'inactive'],
    ]);
  });

  it('stays gone when it was', () => {
    walk({}, [
      [0, 15, 'warning'],
      [1, 'missing', 'warning gone'],
      [2, 'failed', 'warning gone'],
      [3, 5, 'inactive'],
    ]);
  });
});

describe('After ticks that nobody evaluated', () => {
  it('what was pending has to hold anew', () => {
    walk({ forMs: 5 * MINUTE }, [
      [0, 15, 'pending'],
      [1, 15, 'pending'],
      [30, 15, 'pending'],
      [34, 15, 'pending'],
      [35, 15, 'warning'],
    ]);
  });

  it('a few missed ticks do not count', () => {
    walk({ forMs: 5 * MINUTE }, [
      [0, 15, 'pending'],
      [4, 15, 'pending'],
      [8, 15, 'warning'],
    ]);
  });

  it('so it is after a question that failed for long', () => {
    const failing = Array.from({ length: 9 }, (_, i): Step => [i + 1, 'failed', 'pending']);
    walk({ forMs: 5 * MINUTE }, [
      [0, 15, 'pending'],
      ...failing,
      [10, 15, 'pending'],
      [13, 15, 'pending'],
      [15, 15, 'warning'],
    ]);
  });

  it('what fires goes on, and a recovery has to last', () => {
    walk({ keepFiringMs: 2 * MINUTE }, [
      [0, 15, 'warning'],
      [1, 5, 'warning'],
      [30, 5, 'warning'],
      [32, 5, 'inactive'],
    ]);
  });
});

describe('After the program was away', () => {
  const away = (measured: Measurement, knownMs: number | undefined, fromMs: number) =>
    unlessAway(measured, knownMs === undefined ? undefined : { knownMs }, { fromMs, upSinceMs: 10 * MINUTE });

  it('nothing is known of a group that was known before, where data may have been missed', () => {
    assert.equal(away('missing', 5 * MINUTE, 8 * MINUTE), 'failed');
  });

  it('what is measured counts, and so does what is missing from a window that it was there for, or of a group that it knows since', () => {
    assert.equal(away(5, 5 * MINUTE, 8 * MINUTE), 5);
    assert.equal(away('missing', 5 * MINUTE, 10 * MINUTE), 'missing');
    assert.equal(away('missing', 11 * MINUTE, 8 * MINUTE), 'missing');
    assert.equal(away('missing', undefined, 8 * MINUTE), 'missing');
  });
});

describe('A rule that cannot be evaluated', () => {
  it('is told after five minutes, once, and taken back when it can', () => {
    let health = { failingMs: null as number | null, told: false };
    const told: [number, string][] = [];
    const steps: [minute: number, failed: boolean][] = [
      [0, true],
      [1, false],
      [2, true],
      [6, true],
      [7, true],
      [8, true],
      [9, false],
      [10, false],
    ];
    for (const [minute, failed] of steps) {
      const next = nextHealth(health, failed, minute * MINUTE);
      if (next.tell) told.push([minute, next.tell]);
      health = next.health;
    }
    assert.deepEqual(told, [
      [7, 'error'],
      [9, 'resolved'],
    ]);
  });
});
