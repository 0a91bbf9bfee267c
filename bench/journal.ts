import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FileSystem, realFileSystem } from '../src/journal/file-system.js';
import { DiskIngestQueue } from '../src/queue/disk-ingest-queue.js';
import type { IngestEntry } from '../src/queue/ingest-queue.js';

/**
 * The disk queue alone: adds a second, time to the acknowledgement, CPU an add, by body size and concurrent adders; and
 * the same without a disk (calls that return at once), which leaves the queue's own CPU. Usage:
 *
 *     node dist/bench/journal.js [seconds a case] [directory]
 */
const seconds = Number(process.argv[2] ?? 2);
const base = process.argv[3] ?? tmpdir();
const BODIES = 64;

interface Result {
  adds: number;
  latenciesMs: number[];
  cpuUs: number;
  syncs: number;
  elapsedMs: number;
}

const noDisk: FileSystem = {
  ...realFileSystem,
  create: async () => ({
    writev: async (buffers) => buffers.reduce((sum, { length }) => sum + length, 0),
    read: async () => 0,
    sync: async () => undefined,
    truncate: async () => undefined,
    size: async () => 0,
    close: async () => undefined,
  }),
  rename: async () => undefined,
  unlink: async () => undefined,
};

async function run(adders: number, bodyBytes: number, fs: FileSystem): Promise<Result> {
  const directory = await mkdtemp(join(base, 'bench-journal-'));
  const queue = await DiskIngestQueue.open({ directory, maxBacklogBytes: Number.MAX_SAFE_INTEGER, fs });
  const bodies = Array.from({ length: BODIES }, () => new Uint8Array(randomBytes(bodyBytes)));
  const scope = { organizationId: 'organization', workspaceId: 'workspace', tenantId: 'tenant' };
  const times = { receivedAtMs: Date.now(), retentionDays: 30 };
  const result: Result = { adds: 0, latenciesMs: [], cpuUs: 0, syncs: 0, elapsedMs: 0 };
  const end = performance.now() + seconds * 1000;
  async function add(): Promise<void> {
    while (performance.now() < end) {
      const contentHash = new Uint8Array(randomBytes(16));
      const body = bodies[result.adds++ % BODIES];
      const entry: IngestEntry = {
        signal: 'traces',
        scope,
        ...times,
        items: 1000,
        rejected: 0,
        body,
        contentHash,
        note: '',
      };
      const started = performance.now();
      await queue.add(entry);
      result.latenciesMs.push(performance.now() - started);
    }
  }
  const before = process.cpuUsage();
  const started = performance.now();
  await Promise.all(Array.from({ length: adders }, add));
  result.elapsedMs = performance.now() - started;
  const cpu = process.cpuUsage(before);
  result.cpuUs = cpu.user + cpu.system;
  result.syncs = queue.stats().syncs;
  await queue.close();
  await rm(directory, { recursive: true, force: true });
  return result;
}

function show(name: string, adders: number, bodyBytes: number, result: Result): void {
  const sorted = result.latenciesMs.sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor(sorted.length * share)].toFixed(2);
  const perSecond = (result.adds / result.elapsedMs) * 1000;
  console.log(
    [
      name.padEnd(8),
      `${bodyBytes / 1000} KB`.padStart(7),
      `${adders}`.padStart(7),
      perSecond.toFixed(0).padStart(8),
      ((perSecond * bodyBytes) / 1e6).toFixed(0).padStart(7),
      at(0.5).padStart(8),
      at(0.99).padStart(8),
      (result.cpuUs / result.adds).toFixed(1).padStart(10),
      (result.adds / result.syncs).toFixed(1).padStart(10),
    ].join(' '),
  );
}

console.log('disk     body     adders   adds/s    MB/s   p50 ms   p99 ms CPU us/add adds/sync');
for (const [name, fs] of [
  ['real', realFileSystem],
  ['none', noDisk],
] as const) {
  for (const bodyBytes of [1_000, 50_000, 230_000]) {
    for (const adders of [1, 16, 64]) show(name, adders, bodyBytes, await run(adders, bodyBytes, fs));
  }
}
