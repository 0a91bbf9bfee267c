import type { Totals } from './delivery.js';

const TTY_EVERY_MS = 200;
const LINE_EVERY_MS = 5000;

/** Totals as they grow: one line that is rewritten on a terminal, else a line every few seconds. */
export class Progress {
  private readonly startedAt = performance.now();
  private shownAt = this.startedAt;
  private shownErrors = 0;

  constructor(private readonly output: NodeJS.WriteStream) {}

  show(totals: Totals): void {
    const now = performance.now();
    if (now - this.shownAt < (this.output.isTTY ? TTY_EVERY_MS : LINE_EVERY_MS)) return;
    this.shownAt = now;
    this.complain(totals);
    this.write(this.line(totals));
  }

  finish(totals: Totals): void {
    this.complain(totals);
    this.write(this.line(totals));
    if (this.output.isTTY) this.output.write('\n');
  }

  private line({ requests, spans, logs, points, exportErrors }: Totals): string {
    const seconds = Math.round((performance.now() - this.startedAt) / 1000);
    return (
      `${seconds} s: ${requests} requests; sent ${spans} spans, ${logs} logs, ${points} metric points; ` +
      `${exportErrors} export errors`
    );
  }

  private write(line: string): void {
    this.output.write(this.output.isTTY ? `\r\x1b[K${line}` : `${line}\n`);
  }

  /** An error is told when it happens, not only counted. */
  private complain({ exportErrors, lastError }: Totals): void {
    if (exportErrors <= this.shownErrors) return;
    this.shownErrors = exportErrors;
    this.output.write(`${this.output.isTTY ? '\r\x1b[K' : ''}export error: ${lastError}\n`);
  }
}
