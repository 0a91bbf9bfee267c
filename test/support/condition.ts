import type { Condition } from '../../src/alert-states/transition.js';

export const MINUTE = 60_000;

/** Fires above 10, critically above 20, evaluated each minute. */
export const RULE: Condition = {
  operator: '>',
  warning: 10,
  critical: 20,
  absent: false,
  noData: 'ok',
  missingLevel: 'warning',
  forMs: 0,
  keepFiringMs: 0,
  intervalMs: MINUTE,
};
