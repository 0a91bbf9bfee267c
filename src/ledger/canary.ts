import { randomInt, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { ClickHouse } from '../connections/clickhouse.js';
import { bytesField } from '../otlp/protobuf-bytes.js';
import { Asking, Where } from '../store/statement.js';
import { CANARY_SCOPE } from './canary-scope.js';
import type { Freshness } from './freshness.js';

/** Pauses before the first looks: a batch waits up to 300 ms, so earlier ones would see nothing. Then once a second. */
const PAUSES_MS = [300, 50, 50, 100, 200, 300];
const LAST_PAUSE_MS = 1000;
const MAX_WAIT_MS = 60_000;
const FIRST_ROUND_MS = 1000;

/** A log record of the canary: what is looked for. */
export interface CanaryItem {
  timeNs: bigint;
  text: string;
  /** ExportLogsServiceRequest as protobuf. */
  body: Buffer;
}

/**
 * Sends the program an item of its own through the way that every request takes, and looks with an ordinary question until it is
 * there: what a customer would see, measured.
 */
export class Canary {
  private readonly stopping = new AbortController();
  private running: Promise<void> | undefined;

  /**
   * @param send resolves when the body is acknowledged
   * @param intervalMs from one item to the next; 0: none
   */
  constructor(
    private readonly send: (body: Buffer) => Promise<void>,
    private readonly clickhouse: ClickHouse,
    private readonly freshness: Freshness,
    private readonly intervalMs: number,
    private readonly log: Logger,
  ) {}

  start(): void {
    if (this.intervalMs > 0) this.running ??= this.run();
  }

  /** Resolves when no more is sent or asked. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    let wasSeen = true;
    await pause(Math.min(FIRST_ROUND_MS, this.intervalMs), signal);
    while (!signal.aborted) {
      const startedAt = performance.now();
      const problem = await this.round().catch((error: unknown) => error);
      // Told once: what follows is the same trouble, and the worker tells of its own.
      if (problem && wasSeen && !signal.aborted)
        this.log.warn({ err: problem }, 'An item that was sent as a test cannot be seen');
      wasSeen = !problem;
      await pause(this.intervalMs - (performance.now() - startedAt), signal);
    }
  }

  /** @returns what went wrong; undefined: it was seen */
  private async round(): Promise<Error | undefined> {
    const item = canaryItem(Date.now());
    await this.send(item.body);
    const acknowledgedAt = performance.now();
    let look = 0;
    while (!this.stopping.signal.aborted && performance.now() - acknowledgedAt < MAX_WAIT_MS) {
      await pause(PAUSES_MS[look++] ?? LAST_PAUSE_MS, this.stopping.signal);
      if (!(await this.isVisible(item))) continue;
      this.freshness.seen(performance.now() - acknowledgedAt, Date.now());
      return undefined;
    }
    return new Error(`It was not there ${MAX_WAIT_MS / 1000} s after its acknowledgement`);
  }

  private async isVisible({ timeNs, text }: CanaryItem): Promise<boolean> {
    const where = new Where(CANARY_SCOPE).withinSteps({ fromNs: timeNs, toNs: timeNs + 1n });
    where.and(`body = ${where.bind('String', text)}`);
    const asking = new Asking(this.clickhouse, this.stopping.signal);
    return (await asking.rows(`SELECT 1 FROM telemetry_logs WHERE ${where} LIMIT 1`, where)).length > 0;
  }
}

/** One log record that was never there before: the queue folds bodies that are the same. */
export function canaryItem(nowMs: number): CanaryItem {
  const timeNs = BigInt(nowMs) * 1_000_000n + BigInt(randomInt(1_000_000));
  const text = `canary ${randomUUID()}`;
  const time = Buffer.alloc(9);
  time[0] = (1 << 3) | 1;
  time.writeBigUInt64LE(timeNs, 1);
  const value = (of: string) => bytesField(1, Buffer.from(of));
  const service = Buffer.concat([bytesField(1, Buffer.from('service.name')), bytesField(2, value('canary'))]);
  const record = Buffer.concat([time, bytesField(5, value(text))]);
  const resource = bytesField(1, bytesField(1, service));
  const body = bytesField(1, Buffer.concat([resource, bytesField(2, bytesField(2, record))]));
  return { timeNs, text, body };
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms > 0) await sleep(ms, undefined, { signal, ref: false }).catch(() => undefined);
}
