import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AppError } from '../errors.js';
import { AccessVersion } from './access-version.js';

const MINUTE_MS = 60_000;

/** A version that is asked of a counter instead of PostgreSQL, at a time that the test sets. */
function watched() {
  const world = { nowMs: 1000, version: 1, looks: 0, isAway: false };
  const version = new AccessVersion(
    async () => {
      world.looks++;
      if (world.isAway) throw new Error('connection refused');
      return String(world.version);
    },
    () => world.nowMs,
  );
  const ask = async () => version.get() ?? (await version.wait());
  return { world, version, ask };
}

/** Lets a look that was started beside a request end. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

describe('The access version', () => {
  it('is not looked at when nobody asks, and about twice a second when everybody does', async () => {
    const { world, ask } = watched();
    assert.equal(await ask(), '1');
    world.nowMs += 10 * MINUTE_MS;
    await settle();
    assert.equal(world.looks, 1);
    for (let i = 0; i < 10_000; i++) {
      world.nowMs += 1;
      await ask();
    }
    assert.ok(world.looks >= 19 && world.looks <= 21, `${world.looks} looks in 10 s`);
  });

  it('is never older than 900 ms, however few ask', async () => {
    for (const pauseMs of [450, 501, 899, 901, 5000]) {
      const { world, ask } = watched();
      await ask();
      for (let round = 2; round < 20; round++) {
        world.version = round;
        const changedAtMs = world.nowMs;
        while (world.nowMs - changedAtMs < 900) {
          world.nowMs += pauseMs;
          await settle();
          await ask();
        }
        world.nowMs++;
        assert.equal(await ask(), String(round), `asked every ${pauseMs} ms`);
      }
    }
  });

  it('is looked at once for all who wait', async () => {
    const { world, ask } = watched();
    assert.deepEqual(new Set(await Promise.all(Array.from({ length: 100 }, ask))), new Set(['1']));
    assert.equal(world.looks, 1);
  });

  it('stays what it was for 5 minutes without PostgreSQL, with one try every half second, then nobody knows', async () => {
    const { world, ask } = watched();
    await ask();
    world.isAway = true;
    const awayAtMs = world.nowMs;
    while (world.nowMs - awayAtMs < 5 * MINUTE_MS - 1000) {
      world.nowMs += 100;
      assert.equal(await ask(), '1');
      await settle();
    }
    assert.ok(world.looks <= 10 * 60 + 1, `${world.looks} looks`);
    world.nowMs += 2000;
    await assert.rejects(ask, (error) => error instanceof AppError && error.status === 503);
    world.isAway = false;
    world.version = 7;
    world.nowMs += 600;
    assert.equal(await ask(), '7');
  });

  it('is not known before PostgreSQL was there once', async () => {
    const { world, ask } = watched();
    world.isAway = true;
    await assert.rejects(ask, (error) => error instanceof AppError && error.code === 'UNAVAILABLE');
  });

  it('is given up on after 900 ms when PostgreSQL hangs, and taken when it comes late', async () => {
    const looks: ((version: string) => void)[] = [];
    const version = new AccessVersion(() => new Promise((resolve) => looks.push(resolve)));
    const first = version.wait();
    looks[0]('1');
    assert.equal(await first, '1');
    version.expire();
    const startedAt = performance.now();
    const second = version.wait();
    assert.equal(await second, '1');
    const tookMs = performance.now() - startedAt;
    assert.ok(tookMs > 850 && tookMs < 2000, `${tookMs} ms`);
    looks[1]('2');
    await settle();
    assert.equal(await version.wait(), '2', 'the third look hangs too');
  });

  it('is looked at again at once after a change of one’s own, whatever a look before it says', async () => {
    const looks: ((version: string) => void)[] = [];
    const version = new AccessVersion(() => new Promise((resolve) => looks.push(resolve)));
    const early = version.wait();
    version.expire();
    const late = version.wait();
    looks[1]('2');
    assert.equal(await late, '2');
    looks[0]('1');
    await settle();
    await early;
    assert.equal(version.get(), '2');
  });
});
