import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SignInCodes } from './sign-in.js';

const MINUTE_MS = 60_000;

describe('The code of a sign-in link', () => {
  it('works once', () => {
    const codes = new SignInCodes();
    const [one, other] = [codes.issue(0), codes.issue(0)];
    assert.ok(codes.redeem(one, 1));
    assert.ok(!codes.redeem(one, 1));
    assert.ok(codes.redeem(other, 1));
  });

  it('works for 15 minutes', () => {
    const codes = new SignInCodes();
    assert.ok(codes.redeem(codes.issue(0), 15 * MINUTE_MS - 1));
    assert.ok(!codes.redeem(codes.issue(0), 15 * MINUTE_MS));
  });

  it('is not guessed, and not known to another process', () => {
    const codes = new SignInCodes();
    const code = codes.issue(0);
    for (const text of ['', code.slice(1), `${code}x`, new SignInCodes().issue(0)])
      assert.ok(!codes.redeem(text, 1));
    assert.ok(codes.redeem(code, 1));
  });
});
