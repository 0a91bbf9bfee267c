const MAX_FAILURES = 5;
const WINDOW_MS = 10_000;
const PAUSE_MS = 2_000;

/**
 * After 5 failures in a row within 10 s nothing is asked for 2 s; then one may try, and its success opens the way for all. The time is an argument,
 * in milliseconds of any clock that is not set back.
 */
export class CircuitBreaker {
  private failedAtMs: number[] = [];
  private pausedUntilMs = 0;

  /** Whether to ask now. During a pause's end it lets one through, and pauses again until that one has succeeded. */
  mayAsk(nowMs: number): boolean {
    if (this.pausedUntilMs === 0) return true;
    if (nowMs < this.pausedUntilMs) return false;
    this.pausedUntilMs = nowMs + PAUSE_MS;
    return true;
  }

  isOpen(nowMs: number): boolean {
    return nowMs < this.pausedUntilMs;
  }

  succeeded(): void {
    this.pausedUntilMs = 0;
    if (this.failedAtMs.length > 0) this.failedAtMs = [];
  }

  failed(nowMs: number): void {
    this.failedAtMs = this.failedAtMs.filter((atMs) => nowMs - atMs < WINDOW_MS);
    this.failedAtMs.push(nowMs);
    if (this.failedAtMs.length >= MAX_FAILURES) this.pausedUntilMs = nowMs + PAUSE_MS;
  }
}
