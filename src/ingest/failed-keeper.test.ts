import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Registry } from 'prom-client';
import { IngestCounters } from '../monitoring/ingest-counters.js';
import type { FailedEntry } from '../queue/ingest-queue.js';
import { FailedKeeper, outlived } from './failed-keeper.js';

const entry = (id: string, failedAtMs: number) =>
  ({ id, failedAtMs, signal: 'logs', items: 3, reason: 'because' }) as FailedEntry;
const FAILED = [entry('old', 1000), entry('newest', 4000), entry('new', 3000), entry('middle', 2000)];

it('failed entries are kept for so long and up to so many, the newest ones', () => {
  const names = (keepFailed: number, keepFailedMs: number) =>
    outlived(FAILED, { keepFailed, keepFailedMs }, 5000).map(({ id }) => id);
  assert.deepEqual(names(10, 10_000), []);
  assert.deepEqual(names(10, 3000), ['middle', 'old']);
  assert.deepEqual(names(1, 10_000), ['new', 'middle', 'old']);
  assert.deepEqual(names(0, 10_000), ['newest', 'new', 'middle', 'old']);
});

it('what is dropped is logged and counted once, also when another process drops the same', async () => {
  const registry = new Registry();
  const dropped: string[] = [];
  const queue = {
    failed: async () => FAILED,
    // The other process was faster with this one.
    discardFailed: async ([id]: readonly string[]) => (id === 'middle' ? 0 : dropped.push(id) && 1),
  };
  const logged: unknown[] = [];
  const log = { warn: (about: { id: string }) => logged.push(about.id) };
  const bounds = { keepFailed: 1, keepFailedMs: 10_000 };
  const keeper = new FailedKeeper(queue, bounds, new IngestCounters(registry), log as never);
  await keeper.look(5000);
  assert.deepEqual(
    [dropped, logged],
    [
      ['new', 'old'],
      ['new', 'old'],
    ],
  );
  assert.match(await registry.metrics(), /items_total\{signal="logs",outcome="expired"\} 6/);
});
