import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

/** Waits for something to become true; fails after thirty seconds. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 30_000; !(await condition()); await sleep(5))
    assert.ok(Date.now() < deadline, what);
}

/** What `look` finds as soon as it finds something; fails after `maxWaitMs`. */
export async function found<T>(
  what: string,
  maxWaitMs: number,
  look: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  for (const deadline = Date.now() + maxWaitMs; ; await sleep(50)) {
    const one = await look();
    if (one !== undefined) return one;
    assert.ok(Date.now() < deadline, what);
  }
}
