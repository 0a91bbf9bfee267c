import type { Session } from 'chdb';

export interface PoolStats {
  size: number;
  open: number;
  busy: number;
  waiting: number;
  /** Sessions thrown away because a statement failed on them. */
  discarded: number;
}

interface Waiting {
  resolve: (session: Session) => void;
  reject: (error: Error) => void;
}

/** What an aborted call rejects with, whatever the signal's own reason was wrapped in. */
function abortError(signal: AbortSignal): Error {
  return signal.reason instanceof Error
    ? signal.reason
    : new DOMException('The operation was aborted', 'AbortError');
}

/**
 * Up to `size` engine sessions, opened when first needed, each doing one thing at a time; callers beyond that wait
 * in order.
 *
 * A session on which a statement failed is never used again. The engine keeps the rows that a failed query had
 * already put out and gives them to the session's next caller, in front of its own: another tenant's rows. A new
 * session costs 0.1 ms.
 */
export class SessionPool {
  private readonly idle: Session[] = [];
  private readonly queue: Waiting[] = [];
  private readonly active = new Set<Promise<unknown>>();
  private open = 0;
  private discarded = 0;
  private closed = false;

  constructor(
    private readonly openSession: () => Session,
    readonly size: number,
  ) {}

  /**
   * Runs `work` alone on a session.
   *
   * When the signal fires, a waiting call leaves the queue; a running one rejects at once, `stop` is called to end
   * the statement, and the session stays out of the pool until the engine has really let go of it.
   */
  async run<T>(
    work: (session: Session) => Promise<T>,
    options: { signal?: AbortSignal; stop?: (running: Promise<unknown>) => void } = {},
  ): Promise<T> {
    const { signal, stop } = options;
    const session = await this.acquire(signal);
    if (signal?.aborted) {
      this.release(session);
      throw abortError(signal);
    }
    const running = work(session);
    const done = running.then(
      () => this.release(session),
      () => this.discard(session),
    );
    this.active.add(done);
    void done.finally(() => this.active.delete(done));
    if (!signal) return running;
    return new Promise<T>((resolve, reject) => {
      const onAbort = () => {
        reject(abortError(signal));
        stop?.(done);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      running.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
    });
  }

  stats(): PoolStats {
    return {
      size: this.size,
      open: this.open,
      busy: this.open - this.idle.length,
      waiting: this.queue.length,
      discarded: this.discarded,
    };
  }

  /** Turns waiting and new callers away, lets running statements end, then closes the sessions. */
  async close(): Promise<void> {
    this.closed = true;
    for (const waiting of this.queue.splice(0))
      waiting.reject(new Error('The ClickHouse sessions are closed'));
    await Promise.all(this.active);
    for (const session of this.idle.splice(0)) {
      session.close();
      this.open--;
    }
  }

  private acquire(signal?: AbortSignal): Session | Promise<Session> {
    if (this.closed) throw new Error('The ClickHouse sessions are closed');
    if (signal?.aborted) throw abortError(signal);
    const idle = this.idle.pop();
    if (idle) return idle;
    if (this.open < this.size) return this.create();
    return new Promise<Session>((resolve, reject) => {
      const onAbort = () => {
        this.queue.splice(this.queue.indexOf(waiting), 1);
        reject(abortError(signal!));
      };
      const settled = () => signal?.removeEventListener('abort', onAbort);
      const waiting: Waiting = {
        resolve: (session) => {
          settled();
          resolve(session);
        },
        reject: (error) => {
          settled();
          reject(error);
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.queue.push(waiting);
    });
  }

  private create(): Session {
    const session = this.openSession();
    this.open++;
    return session;
  }

  private release(session: Session): void {
    const next = this.queue.shift();
    if (next) next.resolve(session);
    else this.idle.push(session);
  }

  private async discard(session: Session): Promise<void> {
    this.open--;
    this.discarded++;
    this.serveWaiting();
    // Another statement takes the failed one's rows out of the engine's memory; closing alone would keep them until
    // everything that runs on any session has ended.
    await session.queryAsync('SELECT 1', { format: 'Null' }).catch(() => undefined);
    session.close();
  }

  /** Opens a session for the next caller in the queue, if it is anyone's turn. */
  private serveWaiting(): void {
    for (let next = this.queue.shift(); next; next = this.queue.shift()) {
      try {
        next.resolve(this.create());
        return;
      } catch (error) {
        next.reject(error as Error);
      }
    }
  }
}
