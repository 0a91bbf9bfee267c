import assert from 'node:assert/strict';
import { appendFileSync, cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { SIGNALS } from '../src/signal.js';
import { queryEachSignal, queryStore, TABLES } from './support/engine.js';
import { call } from './support/http.js';
import { ITEMS, requestOf } from './support/items.js';
import { encode, readSuccess, sendOtlp } from './support/otlp-client.js';
import { makeDataDir, Server } from './support/server.js';

const BODIES = 30;
const markerOf = (index: number) => `body-${String(index).padStart(3, '0')}-end`;
const signalOf = (index: number) => SIGNALS[index % SIGNALS.length];

/** Every file below a directory, as paths. */
function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** The file below the queue's folder that holds a text, and where. */
function find(dataDir: string, text: string): { path: string; at: number } {
  for (const path of filesBelow(join(dataDir, 'queue'))) {
    const at = readFileSync(path).indexOf(text);
    if (at >= 0) return { path, at };
  }
  throw new Error(`${text} is in no file of the queue`);
}

/** One body after the other, so that each is a record of its own. */
async function sendAll(server: Server): Promise<void> {
  const bodies = Array.from({ length: BODIES }, (_, index) => {
    const signal = signalOf(index);
    return encode(
      signal,
      'protobuf',
      requestOf(signal, [ITEMS[signal](markerOf(index)), ITEMS[signal](markerOf(index))]),
    );
  });
  for (const [index, body] of bodies.entries()) {
    const signal = signalOf(index);
    readSuccess(await sendOtlp(server.otlp, signal, 'protobuf', body), signal, 'protobuf', 200);
  }
}

/** Asserts that the bodies but `lost` are in the store, each of the two items once. */
async function assertStored(dataDir: string, lost: number[]): Promise<void> {
  const stored: string[] = [];
  const answers = await queryEachSignal<{ marker: string; rows: number }>(
    dataDir,
    (signal) =>
      `SELECT attributes['test.marker'] AS marker, count() AS rows FROM ${TABLES[signal]} GROUP BY marker`,
  );
  for (const [, rows] of answers) {
    for (const { marker, rows: count } of rows) assert.equal(count, 2, marker);
    stored.push(...rows.map(({ marker }) => marker));
  }
  const expected = Array.from({ length: BODIES }, (_, index) => markerOf(index)).filter(
    (_, i) => !lost.includes(i),
  );
  assert.deepEqual(stored.sort(), expected);
}

/** What is said of damage: in the log, at /health/ready; and the bytes are in a file of their own. */
async function assertReported(server: Server, damaged: Buffer): Promise<void> {
  assert.equal((await server.queue()).corruptRecords, 1);
  assert.match(server.program.stderr, /"kind":"damaged"/);
  const savedAs = /"savedAs":"([^"]+)"/.exec(server.program.stderr)?.[1];
  assert.ok(savedAs, 'the log names the file');
  assert.ok(readFileSync(savedAs).includes(damaged), 'the damaged bytes are kept');
  assert.equal((await call(`${server.api}/health/live`, { method: 'GET' })).status, 200);
}

/** Flips a bit in a body's record and returns what stands there then. */
function damage(dataDir: string, index: number): Buffer {
  const { path, at } = find(dataDir, markerOf(index));
  const bytes = readFileSync(path);
  bytes[at + 5] ^= 0x40;
  writeFileSync(path, bytes);
  return bytes.subarray(at, at + markerOf(index).length);
}

describe('a restart with a damaged journal', { concurrency: false }, () => {
  let running: Server | undefined;
  const undamaged = makeDataDir();
  before(async () => {
    // Nothing leaves the queue.
    running = await Server.startIdle(undamaged);
    await sendAll(running);
    await running.kill();
  });
  after(() => running?.kill());
  /** A data folder of a killed server that has the bodies in its queue. */
  const makeFilledDir = () => {
    const dataDir = makeDataDir();
    cpSync(undamaged, dataDir, { recursive: true, verbatimSymlinks: true });
    return dataDir;
  };
  const start = async (dataDir: string, env: Record<string, string> = {}) => {
    running = await Server.start(dataDir, env);
    return running;
  };

  it('keeps the whole when a record in the middle is corrupt, and sets that one aside', async () => {
    const dataDir = makeFilledDir();
    const damaged = damage(dataDir, 14);
    const server = await start(dataDir);
    await server.drained();
    await assertReported(server, damaged);
    await server.stop();
    await assertStored(dataDir, [14]);
    const again = await start(dataDir);
    assert.equal((await again.queue()).waitingEntries, 0, 'what was set aside does not come back');
    await again.stop();
  });

  it('cuts a torn end off, and keeps everything before it', async () => {
    const dataDir = makeFilledDir();
    const { path, at } = find(dataDir, markerOf(BODIES - 1));
    const bytes = readFileSync(path);
    // A record starts with the marker that is part of the file's name (src/queue/journal-record.ts).
    const start2 = bytes.lastIndexOf(Buffer.from(/-([0-9a-f]{16})\./.exec(path)![1], 'hex'), at);
    // A write that a power cut ended: the same record again, without its last bytes.
    appendFileSync(path, bytes.subarray(start2, at + 3));
    const server = await start(dataDir);
    assert.match(server.program.stderr, /"kind":"torn"/);
    assert.equal(
      (await server.queue()).corruptRecords,
      0,
      'that is no damage: nobody was told that it is there',
    );
    await server.drained();
    await server.stop();
    await assertStored(dataDir, []);
  });

  it('keeps the whole when the end is overwritten by something else', async () => {
    const dataDir = makeFilledDir();
    const { path } = find(dataDir, markerOf(BODIES - 1));
    const rubbish = Buffer.from('what a broken disk may give back '.repeat(200));
    appendFileSync(path, rubbish);
    const server = await start(dataDir);
    await server.drained();
    await assertReported(server, rubbish);
    await server.stop();
    await assertStored(dataDir, []);
  });

  it('keeps the rest of a batch that was being inserted when one of its records is corrupt', async () => {
    const dataDir = makeFilledDir();
    // Batches are planned, then it dies; and once more after an insert that nobody heard of.
    for (const step of ['batch-planned:3', 'insert-finished:1']) {
      await start(dataDir, { FAILPOINT: step }).then(
        (server) => server.program.exited,
        () => undefined,
      );
    }
    damage(dataDir, 15);
    const server = await start(dataDir);
    await server.drained();
    assert.equal((await server.queue()).corruptRecords, 1);
    await server.stop();
    const [{ rows }] = await queryStore<{ rows: number }>(
      dataDir,
      `SELECT count() AS rows FROM ${TABLES[signalOf(15)]} WHERE attributes['test.marker'] = '${markerOf(15)}'`,
    );
    // It was inserted before the damage, or it is lost with its record; never twice.
    assert.ok(rows === 0 || rows === 2, String(rows));
    await assertStored(dataDir, rows === 0 ? [15] : []);
  });
});
