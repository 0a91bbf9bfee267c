import { createHash, randomBytes } from 'node:crypto';

const LIFETIME_MS = 15 * 60_000;
const digestOf = (code: string) => createHash('sha256').update(code).digest('base64');

/** Codes of links that log in once, known by their hash and forgotten when the process ends. */
export class SignInCodes {
  private readonly expiresAtMs = new Map<string, number>();

  /** @returns a code that is good once, for 15 minutes */
  issue(nowMs: number): string {
    const code = randomBytes(32).toString('base64url');
    this.expiresAtMs.set(digestOf(code), nowMs + LIFETIME_MS);
    return code;
  }

  /** Whether a code is good; from now on it is not. */
  redeem(code: string, nowMs: number): boolean {
    const digest = digestOf(code);
    const expiresAtMs = this.expiresAtMs.get(digest);
    this.expiresAtMs.delete(digest);
    return expiresAtMs !== undefined && nowMs < expiresAtMs;
  }
}
