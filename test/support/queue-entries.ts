import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { IngestBatch, IngestEntry, IngestQueue, TakeLimits } from '../../src/queue/ingest-queue.js';
import type { Signal } from '../../src/signal.js';

export const MIB = 1024 * 1024;

/** Everything that waits, at once, in one batch per tenant. */
export const ALL: TakeLimits = { maxBytes: 1024 * MIB, maxItems: 1e9, maxAgeMs: 0 };

export function scopeOf(tenantId: string) {
  return { organizationId: 'o', workspaceId: 'w', tenantId };
}

/** An entry whose body is `text`, filled up to `bytes`. */
export function entryOf(
  text: string,
  options: { tenant?: string; signal?: Signal; bytes?: number } = {},
): IngestEntry {
  const { tenant = 't', signal = 'traces', bytes = text.length } = options;
  const body = new Uint8Array(bytes);
  body.set(new TextEncoder().encode(text));
  return {
    signal,
    scope: scopeOf(tenant),
    receivedAtMs: 1_800_000_000_000,
    retentionDays: 30,
    items: 1,
    rejected: 0,
    body,
    contentHash: createHash('sha256').update(body).digest().subarray(0, 16),
    note: '',
  };
}

/** The next batch, or undefined when nothing comes within `patienceMs`. */
export async function takeSoon(
  queue: IngestQueue,
  options: { signal?: Signal; limits?: Partial<TakeLimits>; patienceMs?: number } = {},
): Promise<IngestBatch | undefined> {
  const { signal = 'traces', limits, patienceMs = 100 } = options;
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), patienceMs);
  const batch = await queue.take(signal, { ...ALL, ...limits }, abort.signal);
  clearTimeout(timer);
  return batch;
}

/** Texts of a batch's bodies, without what they were filled up with. */
export async function textsOf(batch: IngestBatch | undefined): Promise<string[]> {
  const bodies = await Promise.all((batch?.entries ?? []).map((entry) => entry.read()));
  return bodies.map((body) => Buffer.from(body).toString().replaceAll('\0', ''));
}

/** Takes and finishes everything; returns the texts of all bodies. */
export async function drain(queue: IngestQueue, signal: Signal = 'traces'): Promise<string[]> {
  const texts: string[] = [];
  while ((await queue.stats()).waitingItems[signal] > 0) {
    const batch = await takeSoon(queue, { signal, patienceMs: 2000 });
    if (!batch) break;
    texts.push(...(await textsOf(batch)));
    queue.done(batch);
  }
  return texts;
}

/** A directory that is gone after the test. */
export async function temporaryDirectory(context: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'queue-'));
  context.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}
