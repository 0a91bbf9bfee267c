import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AppError } from '../errors.js';
import { assertPassword, hashPassword, verifyPassword } from './password.js';

const PASSWORD = 'correct horse battery staple';

describe('Passwords', () => {
  it('are kept as Argon2id with a salt, 19 MiB and 2 passes', async () => {
    const [one, other] = await Promise.all([hashPassword(PASSWORD), hashPassword(PASSWORD)]);
    assert.match(one, /^\$argon2id\$v=19\$(?=[^$]*t=2)m=19456,/);
    assert.notEqual(one, other);
    assert.ok(await verifyPassword(one, PASSWORD));
    assert.ok(!(await verifyPassword(one, `${PASSWORD}.`)));
  });

  it('are the same however the keyboard composes a letter', async () => {
    assert.ok(
      await verifyPassword(
        await hashPassword('caf\u00e9 caf\u00e9 caf\u00e9'),
        'cafe\u0301 cafe\u0301 cafe\u0301',
      ),
    );
  });

  it('are verified two at a time, in turn, and beyond a queue of 64 not at all', async () => {
    const hash = await hashPassword(PASSWORD);
    const all = Array.from({ length: 70 }, () => verifyPassword(hash, PASSWORD));
    const results = await Promise.allSettled(all);
    const refused = results.filter((result) => result.status === 'rejected');
    assert.equal(refused.length, 4);
    assert.ok(refused.every(({ reason }) => reason instanceof AppError && reason.code === 'UNAVAILABLE'));
    assert.ok(await verifyPassword(hash, PASSWORD), 'and then again');
  });

  it('have 12 to 1024 characters, and are never in the error', () => {
    for (const good of ['x'.repeat(12), 'x'.repeat(1024)]) assertPassword(good);
    for (const bad of ['', 'hunter2', 'hunter2'.repeat(200)]) {
      assert.throws(
        () => assertPassword(bad),
        (error) =>
          error instanceof AppError &&
          error.code === 'INVALID_ARGUMENT' &&
          !JSON.stringify([error.message, error.details]).includes('hunter2'),
      );
    }
  });
});
