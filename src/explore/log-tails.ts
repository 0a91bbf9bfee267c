import { randomBytes } from 'node:crypto';
import { AppError } from '../errors.js';
import type { LogTail } from '../store/log-tail.js';

const MAX_OPEN = 50;
const MAX_OPEN_PER_TENANT = 10;
/** How long a tail is kept for a caller that lost its connection. */
const KEPT_MS = 60_000;

/** A tail and whom it is for. */
export interface OpenTail {
  readonly id: string;
  readonly tail: LogTail;
  readonly tenantId: string;
  /** What it is asked, to tell whether the caller that comes back asks the same. */
  readonly question: string;
}

interface KeptTail extends OpenTail {
  timer: NodeJS.Timeout;
}

/** All tails of this process: so many and no more, the same one for who comes back, and all ended when the process stops. */
export class LogTails {
  private readonly open = new Map<string, { tenantId: string; end: AbortController }>();
  private readonly kept = new Map<string, KeptTail>();
  private isStopped = false;

  /**
   * Opens a tail; the signal fires when the process stops.
   *
   * @throws AppError RATE_LIMITED when there are too many, SHUTTING_DOWN
   */
  enter(tenantId: string): { id: string; signal: AbortSignal } {
    if (this.isStopped) throw new AppError('SHUTTING_DOWN', 'The server is stopping.');
    const ofTenant = [...this.open.values()].filter((one) => one.tenantId === tenantId).length;
    if (ofTenant >= MAX_OPEN_PER_TENANT || this.open.size >= MAX_OPEN) {
      const message = `${ofTenant} tails of this tenant are open, of ${this.open.size} in all; ${MAX_OPEN_PER_TENANT} of a tenant and ${MAX_OPEN} in all may be.`;
      throw new AppError('RATE_LIMITED', message, { retryAfterSeconds: 2 });
    }
    const id = randomBytes(9).toString('base64url');
    const end = new AbortController();
    this.open.set(id, { tenantId, end });
    return { id, signal: end.signal };
  }

  /** Ends a tail, and keeps it a while for its caller where that may come back. */
  leave(id: string, kept: OpenTail | undefined): void {
    this.open.delete(id);
    if (!kept || this.isStopped) return;
    if (this.kept.size >= MAX_OPEN) this.forget(this.kept.keys().next().value!);
    const timer = setTimeout(() => this.kept.delete(kept.id), KEPT_MS).unref();
    this.kept.set(kept.id, { ...kept, timer });
  }

  /** The tail that a caller had, if it asks the same for the same tenant; nobody else gets it any more. */
  takeBack(id: string, tenantId: string, question: string): LogTail | undefined {
    const kept = this.kept.get(id);
    if (kept?.tenantId !== tenantId || kept.question !== question) return undefined;
    this.forget(id);
    return kept.tail;
  }

  private forget(id: string): void {
    clearTimeout(this.kept.get(id)!.timer);
    this.kept.delete(id);
  }

  /** Ends every tail at once; none is opened after. */
  stop(): void {
    this.isStopped = true;
    for (const id of [...this.kept.keys()]) this.forget(id);
    for (const { end } of this.open.values())
      end.abort(new AppError('SHUTTING_DOWN', 'The server is stopping.'));
  }

  get size(): number {
    return this.open.size;
  }
}
