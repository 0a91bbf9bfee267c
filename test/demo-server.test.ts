import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { countRowsEach } from './support/engine.js';
import { getJson } from './support/http.js';
import { makeDataDir, Server } from './support/server.js';

const DEMO = fileURLToPath(new URL('../demo/shop.js', import.meta.url));

/** Runs the demo as a newcomer does; with `stopAfterMs`, until Ctrl+C. */
async function runShop(
  args: string[],
  stopAfterMs?: number,
): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, ['--enable-source-maps', DEMO, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  if (stopAfterMs !== undefined) {
    while (!output.includes('Demo shop:') && child.exitCode === null) await sleep(20);
    await sleep(stopAfterMs);
    child.kill('SIGINT');
  }
  return { code: await ended, output };
}

function totalsIn(output: string): { spans: number; logs: number; points: number } {
  const totals = [
    ...output.matchAll(/sent (\d+) spans, (\d+) logs, (\d+) metric points; 0 export errors/g),
  ].at(-1);
  assert.ok(totals, output);
  const [spans, logs, points] = totals.slice(1).map(Number);
  return { spans, logs, points };
}

describe('The demo shop and the real server', () => {
  it('agree on every item, over protobuf and JSON, ended by time or by Ctrl+C; what it says to open next is there', async () => {
    const server = await Server.start(makeDataDir());
    const to = ['--endpoint', server.otlp, '--api', server.api, '--rate', '60', '--seed', '5'];
    const timed = await runShop([...to, '--duration', '2s']);
    assert.equal(timed.code, 0, timed.output);
    const stopped = await runShop([...to, '--json', '--seed', '6'], 1500);
    assert.equal(stopped.code, 0, stopped.output);
    await server.drained();
    const addresses = [...timed.output.matchAll(/http:\/\/\S+\/api\/v1\/\S+/g)].map(([address]) => address);
    assert.ok(addresses.length >= 7, timed.output);
    for (const address of addresses) {
      const { status, body } = await getJson(address, server.key);
      assert.equal(status, 200, `${address}: ${JSON.stringify(body)}`);
    }
    await server.stop();
    const [first, second] = [totalsIn(timed.output), totalsIn(stopped.output)];
    const [spans, logs, points] = await countRowsEach(server.dataDir, [
      ['traces', '1'],
      ['logs', '1'],
      ['metrics', '1'],
    ]);
    assert.deepEqual(
      { spans, logs, points },
      {
        spans: first.spans + second.spans,
        logs: first.logs + second.logs,
        points: first.points + second.points,
      },
    );
  });

  it('without a server it says so at once, how to start one, and ends with 1', async () => {
    const { code, output } = await runShop(['--endpoint', 'http://127.0.0.1:9']);
    assert.equal(code, 1);
    assert.match(
      output,
      /^No OTLP server at http:\/\/127\.0\.0\.1:9 \(.*\)\.\nStart TelemetryFlow .*`npm start`/,
    );
  });

  it('with options that make no sense it says what is allowed and ends with 2', async () => {
    const { code, output } = await runShop(['--rate', 'fast']);
    assert.equal(code, 2);
    assert.match(output, /^--rate fast: expected a number above 0\n\nnpm run demo -- \[options\]/);
  });
});
