import { AppError } from '../errors.js';

/** More than this many questions of one tenant do not wait: whoever asks so many does not read the answers. */
const MAX_WAITING = 100;

interface Line {
  running: number;
  readonly waiting: (() => void)[];
}

/**
 * So many statements of one tenant at once, the rest in the order they came: however much one tenant asks, the others find
 * sessions of the store free.
 */
export class TenantTurns {
  private readonly lines = new Map<string, Line>();

  constructor(
    private readonly maxAtOnce: number,
    private readonly maxWaiting = MAX_WAITING,
  ) {}

  /**
   * Runs `work` when it is the tenant's turn.
   *
   * @throws AppError RATE_LIMITED when too many wait already; the signal's reason when it fires before
   */
  async run<T>(tenantId: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.turn(tenantId, signal);
    try {
      return await work();
    } finally {
      this.next(tenantId);
    }
  }

  private turn(tenantId: string, signal?: AbortSignal): Promise<void> | undefined {
    signal?.throwIfAborted();
    const line = this.lines.get(tenantId) ?? { running: 0, waiting: [] };
    this.lines.set(tenantId, line);
    if (line.running < this.maxAtOnce) {
      line.running++;
      return undefined;
    }
    if (line.waiting.length >= this.maxWaiting) {
      const message = `${line.running + line.waiting.length} questions of this tenant are being answered or wait already; ask fewer at once.`;
      throw new AppError('RATE_LIMITED', message, { retryAfterSeconds: 1 });
    }
    return new Promise((resolve, reject) => {
      const leave = () => {
        line.waiting.splice(line.waiting.indexOf(enter), 1);
        reject(signal!.reason);
      };
      const enter = () => {
        signal?.removeEventListener('abort', leave);
        resolve();
      };
      signal?.addEventListener('abort', leave, { once: true });
      line.waiting.push(enter);
    });
  }

  /** Whoever is next takes over the turn of the one that ended. */
  private next(tenantId: string): void {
    const line = this.lines.get(tenantId)!;
    const enter = line.waiting.shift();
    if (enter) enter();
    else if (--line.running === 0) this.lines.delete(tenantId);
  }
}
