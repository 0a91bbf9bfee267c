import { once } from 'node:events';
import type { FastifyReply } from 'fastify';

const HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-store',
  // Or nginx collects them.
  'x-accel-buffering': 'no',
};

/** Server-sent events to one caller (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
export class EventStream {
  /** Fires when the caller goes away. */
  readonly signal: AbortSignal;
  private readonly raw: FastifyReply['raw'];
  private lastAtMs = performance.now();

  constructor(reply: FastifyReply) {
    const gone = new AbortController();
    this.signal = gone.signal;
    this.raw = reply.raw;
    for (const [name, value] of Object.entries(reply.getHeaders()))
      if (value !== undefined) this.raw.setHeader(name, value);
    reply.hijack();
    this.raw.once('close', () => gone.abort());
    this.raw.on('error', () => gone.abort());
    // It may have closed before this was listened to.
    if (this.raw.destroyed || reply.request.raw.destroyed) gone.abort();
    this.raw.writeHead(200, HEADERS);
    if (reply.request.method === 'HEAD') gone.abort();
    this.comment('open');
  }

  /** @param event undefined: a message */
  send(event: string | undefined, data: unknown, id?: string): void {
    const lines = [
      ...(id === undefined ? [] : [`id: ${id}`]),
      ...(event === undefined ? [] : [`event: ${event}`]),
      `data: ${JSON.stringify(data)}`,
    ];
    this.write(`${lines.join('\n')}\n\n`);
  }

  /** Tells proxies and the caller that the connection lives, unless something was sent within `ms`. */
  beat(ms: number): void {
    if (performance.now() - this.lastAtMs >= ms) this.comment('');
  }

  /** Resolves when the caller has room for more, or the signal fires. */
  async drained(signal: AbortSignal): Promise<void> {
    if (this.raw.writableNeedDrain) await once(this.raw, 'drain', { signal }).catch(() => undefined);
  }

  close(): void {
    this.raw.end();
  }

  private comment(text: string): void {
    this.write(`: ${text}\n\n`);
  }

  private write(text: string): void {
    if (this.signal.aborted) return;
    this.lastAtMs = performance.now();
    this.raw.write(text);
  }
}
