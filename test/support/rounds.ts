import type { Random } from './seed.js';

const isWhole = process.env.TEST_ROUNDS === 'all';

/**
 * How often a test with random faults runs them: all rounds with TEST_ROUNDS=all, two fifths of them otherwise, so that the whole run stays
 * short. Each run draws other faults, and announces its seed.
 */
export function rounds(all: number): number {
  return isWhole ? all : Math.ceil((all * 2) / 5);
}

/** How long a fault lasts, ms: as long as it should with TEST_ROUNDS=all, shorter otherwise. */
export function lasting(wholeMs: number, shortMs: number): number {
  return isWhole ? wholeMs : shortMs;
}

/** Which of the variants of one fault are tried: every one with TEST_ROUNDS=all, one drawn at random otherwise. */
export function variants<T>(all: readonly T[], random: Random): readonly T[] {
  return isWhole ? all : [random.pick(all)];
}
