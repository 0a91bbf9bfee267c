import { hash } from 'node:crypto';
import type { Quotas } from '../edge/quota.js';
import type { Scope } from '../edge/scope.js';
import { reach } from '../failpoints.js';
import { isCanary } from '../ledger/canary-scope.js';
import type { Ledger } from '../ledger/ledger.js';
import type { BodyPool } from '../memory/body-pool.js';
import { freeMemory } from '../memory/free-memory.js';
import type { IngestCounters } from '../monitoring/ingest-counters.js';
import { type CheckResult, checkBody, type TimeWindow } from '../otlp/check.js';
import type { IngestQueue, Rejections } from '../queue/ingest-queue.js';
import type { Signal } from '../signal.js';
import type { TranscodeThread } from '../threads/thread.js';
import type { CheckedBody } from '../threads/thread-messages.js';
import type { Encoding } from './otlp-response.js';

/** The check takes about 1.4 ms a megabyte: larger bodies are checked off the event loop. */
const MAX_INLINE_CHECK_BYTES = 2 * 1024 * 1024;

/** What the client is told: how many items were refused for good, and why ('' when there is nothing to say). */
export interface Accepted {
  rejected: number;
  message: string;
}

/** From a decompressed body to a durable entry in the queue. The same for every transport. */
export class Acceptor {
  constructor(
    private readonly queue: IngestQueue,
    private readonly thread: TranscodeThread,
    private readonly bodies: BodyPool,
    /** Older items are refused. */
    private readonly acceptedDays: Readonly<Record<Signal, number>>,
    private readonly counters: IngestCounters,
    private readonly quotas: Pick<Quotas, 'count'>,
    private readonly ledger: Pick<Ledger, 'rejected'>,
    private readonly nowMs: () => number = Date.now,
  ) {}

  /**
   * Checks a body and makes its good items durable. When this resolves, a power cut loses nothing of them.
   *
   * @param body the bytes as the client meant them, of the pool; taken over, whatever becomes of them
   * @throws AppError MALFORMED_BODY, BACKLOG_FULL, DISK_FULL, SHUTTING_DOWN
   */
  async accept(scope: Scope, signal: Signal, encoding: Encoding, body: Buffer): Promise<Accepted> {
    const receivedAtMs = this.nowMs();
    const bytes = body.length;
    const retentionDays = this.acceptedDays[signal];
    const window: TimeWindow = { receivedAtMs, retentionDays };
    // Of the bytes as sent: a client that re-sends repeats them, whatever we make of them.
    const contentHash = hash('sha256', body, 'buffer').subarray(0, 16);
    const checked =
      this.checkNow(signal, encoding, body, window) ?? (await this.check(signal, encoding, body, window));
    let isQueued = false;
    try {
      const { items, rejected } = checked.result;
      const message = explain(checked.result);
      this.counters.received(signal, items, rejected, bytes);
      const reasons = rejected === 0 ? undefined : countsOf(checked.result);
      if (items === rejected) {
        if (reasons) this.ledger.rejected(scope, signal, receivedAtMs, reasons);
        return { rejected, message };
      }
      reach('request-read');
      const added = await this.queue.add({
        signal,
        scope,
        receivedAtMs,
        retentionDays,
        items: items - rejected,
        rejected,
        reasons,
        body: checked.body,
        contentHash,
        note: message,
      });
      reach('journal-synced');
      if (!added.duplicate) {
        isQueued = true;
        if (!isCanary(scope)) this.quotas.count(scope, items - rejected, bytes);
        return { rejected, message };
      }
      this.counters.duplicate(signal, items);
      return { rejected: added.rejected, message: added.note };
    } finally {
      if (!isQueued) this.bodies.give(checked.body);
    }
  }

  /** What was found in a body that is protobuf and small; on an error its memory is given back. */
  private checkNow(
    signal: Signal,
    encoding: Encoding,
    body: Buffer,
    window: TimeWindow,
  ): CheckedBody | undefined {
    if (encoding === 'json' || body.length > MAX_INLINE_CHECK_BYTES) return undefined;
    try {
      return { body, result: checkBody(signal, body, window) };
    } catch (error) {
      this.bodies.give(body);
      throw error;
    }
  }

  /** The body as protobuf, in memory of the pool, and what was found in it, off the event loop; on an error the memory is given back. */
  private async check(
    signal: Signal,
    encoding: Encoding,
    body: Buffer,
    window: TimeWindow,
  ): Promise<CheckedBody> {
    try {
      if (encoding === 'json') {
        const made = await this.thread.json({ signal, body, window });
        this.bodies.give(body);
        const kept = this.bodies.copyOf(made.body);
        freeMemory(made.body);
        return { body: kept, result: made.result };
      }
      return { body, result: await this.thread.check({ signal, body, window }) };
    } catch (error) {
      this.bodies.give(body);
      throw error;
    }
  }
}

const countsOf = ({ reasons }: CheckResult): Rejections =>
  Object.fromEntries(reasons.map(({ code, count }) => [code, count]));

/** One sentence per reason, with counts: the text of `partial_success`. */
function explain({ reasons, invalidUtf8 }: CheckResult): string {
  const sentences = reasons.map(({ message, count }) => `${count} rejected: ${message}`);
  if (invalidUtf8 > 0) {
    sentences.push(
      `${invalidUtf8} strings were not valid UTF-8; their invalid bytes were replaced by U+FFFD`,
    );
  }
  return sentences.join('; ');
}
