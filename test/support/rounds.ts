/**
 * How often a test with random faults runs them: all rounds with TEST_ROUNDS=all, two fifths of them otherwise, so that the whole run stays
 * short. Each run draws other faults, and announces its seed.
 */
export function rounds(all: number): number {
  return process.env.TEST_ROUNDS === 'all' ? all : Math.ceil((all * 2) / 5);
}
