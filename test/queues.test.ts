import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { DiskJobQueues } from '../src/disk-jobs/disk-jobs.js';
import type { QueueAnswer } from '../src/monitoring/queues.schema.js';
import { QUEUE_DEFAULTS, QUEUE_NAMES, type QueueName } from '../src/queue-numbers.js';
import { call, getJson } from './support/http.js';
import { logRecord, requestOf } from './support/items.js';
import { encode, sendOtlp } from './support/otlp-client.js';
import { makeDataDir, Program, Server, StartFailed } from './support/server.js';
import { until } from './support/until.js';

const INGESTION = 'otlp-ingestion';
/** Far longer than a batch waits to be stored (300 ms) when its queue is not paused. */
const PAUSED_MS = 2_000;

const longestOf = (jobs: { payload: unknown }[]) =>
  Math.max(...jobs.map(({ payload }) => (payload as { bytes: number }).bytes));

/** The queues of the running program, looked at and acted on by hand: over HTTP and on the command line. */
describe('The queues of a running server', { concurrency: false }, () => {
  const dataDir = makeDataDir();
  let server: Server;

  const send = async (marker: string) => {
    const body = encode('logs', 'protobuf', requestOf('logs', [logRecord(marker)], 'queues'));
    assert.equal((await sendOtlp(server.otlp, 'logs', 'protobuf', body)).status, 200);
  };
  const isVisible = async (marker: string) => {
    const { body } = await getJson(
      `${server.api}/api/v1/logs?service=queues&attr.test.marker=${marker}`,
      server.key,
    );
    return (body as { data: unknown[] }).data.length === 1;
  };
  const figures = async (name: QueueName, query = '') => {
    const { status, body } = await getJson(`${server.api}/api/v1/queues/${name}${query}`, server.key);
    assert.equal(status, 200, JSON.stringify(body));
    return body as QueueAnswer & {
      jobs?: { id: string; state: string; reason?: string; payload: unknown }[];
    };
  };
  const act = async (name: QueueName, action: string, sent?: object) => {
    const headers = {
      authorization: `Bearer ${server.key}`,
      ...(sent && { 'content-type': 'application/json' }),
    };
    const url = `${server.api}/api/v1/queues/${name}/${action}`;
    const { status, body } = await call(url, { headers, body: sent && JSON.stringify(sent) });
    assert.equal(status, 200, body.toString());
    return JSON.parse(body.toString()) as Record<string, unknown>;
  };
  const command = async (...args: string[]) => {
    const program = new Program(args, { DATA_DIR: dataDir });
    const { code } = await program.exited;
    return { code, stdout: program.stdout, stderr: program.stderr };
  };

  before(async () => {
    server = await Server.start(dataDir);
  });
  after(() => server.kill());

  it('have the figures of what was really ingested', async () => {
    for (const marker of ['first', 'second', 'third']) await send(marker);
    await until('all three are stored', () => isVisible('third'));
    await until('done is counted', async () => (await figures(INGESTION)).completed > 0);
    const figure = await figures(INGESTION);
    assert.deepEqual([figure.waiting, figure.failed, figure.paused], [0, 0, false]);
    assert.ok(figure.average_ms! > 0, `average ${figure.average_ms} ms`);
    assert.ok(figure.jobs_per_second > 0);
    assert.equal(figure.success_percent, 100);
    const { body } = await getJson(`${server.api}/api/v1/queues`, server.key);
    assert.deepEqual(
      (body as { data: QueueAnswer[] }).data.map(({ name }) => name),
      [...QUEUE_NAMES],
    );
  });

  it('tell their figures to Prometheus', async () => {
    const text = (await call(`${server.api}/metrics`, { method: 'GET' })).body.toString();
    for (const queue of QUEUE_NAMES) {
      assert.match(text, new RegExp(`^telemetryflow_queue_lag_seconds\\{queue="${queue}"\\} `, 'm'));
      assert.match(
        text,
        new RegExp(`^telemetryflow_queue_jobs\\{queue="${queue}",state="waiting"\\} 0$`, 'm'),
      );
    }
    assert.match(text, /^telemetryflow_queue_jobs_per_second\{queue="otlp-ingestion"\} [\d.]*[1-9]/m);
  });

  it('a paused ingestion acknowledges and stores nothing, over a restart too, and goes on when it is resumed', async () => {
    assert.deepEqual(await act(INGESTION, 'pause'), { name: INGESTION, paused: true });
    await send('held');
    await sleep(PAUSED_MS);
    assert.equal(await isVisible('held'), false);
    await server.stop();
    server = await Server.start(dataDir);
    const figure = await figures(INGESTION);
    assert.deepEqual([figure.waiting, figure.paused, figure.health], [1, true, 'paused']);
    assert.deepEqual(await act(INGESTION, 'resume'), { name: INGESTION, paused: false });
    await until('it is stored', () => isVisible('held'));
  });

  it('the command prints the table once where its output is no terminal, with a key of its own that it takes away', async () => {
    const { code, stdout, stderr } = await command('queues');
    assert.equal(code, 0, stderr);
    const lines = stdout.trimEnd().split('\n');
    assert.match(
      lines[0],
      /^QUEUE +WAITING +ACTIVE +DELAYED +DONE +FAILED +JOBS\/S +AVG MS +OK % +LAG MS +HEALTH$/,
    );
    assert.deepEqual(
      lines.slice(1, 6).map((line) => line.split(' ')[0]),
      [...QUEUE_NAMES],
    );
    const { body } = await getJson(`${server.api}/api/v1/api-keys`, server.key);
    const names = (body as { data: { name: string }[] }).data.map(({ name }) => name);
    assert.ok(names.length > 0 && !names.includes('of a command while it runs'), names.join());
  });

  it('the command does the actions, also at an address and with a key that it is given', async () => {
    const made = await command('keys', 'create', '--permissions', 'admin');
    const there = ['--url', server.api, '--key', made.stdout.trim()];
    const { code, stdout, stderr } = await command('queues', 'pause', 'cleanup', ...there);
    assert.equal(code, 0, stderr);
    assert.deepEqual(JSON.parse(stdout), { name: 'cleanup', paused: true });
    assert.equal((await figures('cleanup')).paused, true);
    assert.equal((await figures(INGESTION)).paused, false);
    await act('cleanup', 'resume');
    assert.equal((await figures('cleanup')).paused, false);
    const wrong = await command('queues', 'pause', 'nothing', ...there);
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /There is no queue nothing/);
    const nobody = await command('queues', '--url', 'http://127.0.0.1:1', '--key', 'tfk_x');
    assert.equal(nobody.code, 1);
    assert.match(nobody.stderr, /No server answers at http:\/\/127\.0\.0\.1:1/);
  });

  it('requests in the failed set are shown with their reason, are dropped, or stored when they are tried again', async () => {
    await act(INGESTION, 'pause');
    for (const marker of ['poison-body', 'poison-body-2']) await send(marker);
    await server.stop();
    // It is the process that can't work on it: a version that can is started later.
    const dies = async () => {
      try {
        server = await Server.start(dataDir, { FAILPOINT: 'poison-body' });
        if ((await figures(INGESTION)).paused) await act(INGESTION, 'resume');
        for (;;) {
          if ((await server.queue()).failedEntries === 2) return false;
          await sleep(20);
        }
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error;
        if (!(error instanceof StartFailed)) await server.program.exited;
        return true;
      }
    };
    assert.equal(await dies(), true);
    assert.equal(await dies(), false, 'it died again');
    await server.stop();
    server = await Server.start(dataDir);
    const { failed, jobs } = await figures(INGESTION, '?state=failed');
    assert.deepEqual([failed, jobs!.length], [2, 2]);
    assert.match(jobs![0].reason!, /process/);
    assert.equal(await isVisible('poison-body'), false);
    const nothing = await command('queues', 'drop-failed', INGESTION);
    assert.match(nothing.stderr, /either ids or --all/);
    const latest = jobs!.find(({ payload }) => (payload as { bytes: number }).bytes === longestOf(jobs!));
    const drop = await command('queues', 'drop-failed', INGESTION, latest!.id);
    assert.deepEqual(JSON.parse(drop.stdout), { name: INGESTION, dropped: 1 });
    const ledger = await getJson(`${server.api}/api/v1/ledger?from=now-1h`, server.key);
    const logs = (
      ledger.body as { data: { signal: string; dropped: number; balanced: boolean }[] }
    ).data.find(({ signal }) => signal === 'logs');
    assert.deepEqual([logs!.dropped, logs!.balanced], [1, true]);
    const audit = await getJson(`${server.api}/api/v1/audit?action=queue.drop-failed`, server.key);
    assert.equal((audit.body as { data: unknown[] }).data.length, 1);
    const { code, stdout, stderr } = await command('queues', 'retry-failed', INGESTION);
    assert.equal(code, 0, stderr);
    assert.deepEqual(JSON.parse(stdout), { name: INGESTION, retried: 1 });
    await until('it is stored', () => isVisible('poison-body'));
    assert.equal((await figures(INGESTION)).failed, 0);
  });

  it('failed background jobs are dropped by their ids or all at once, on record, and no job beside them', async () => {
    await server.stop();
    const directory = join(dataDir, 'jobs');
    const jobs = await DiskJobQueues.open({ directory, numbers: QUEUE_DEFAULTS });
    // Not one that the handler's queue takes: such a job fails at once.
    const anything = { name: 'cleanup', payload: z.unknown() } as const;
    await jobs.addAll(
      anything,
      ['a', 'b', 'c'].map((id) => ({ id, payload: { nonsense: id } })),
    );
    await jobs.addAll(anything, [{ id: 'later', payload: {}, delayMs: 3_600_000 }]);
    await jobs.close(1000);
    server = await Server.start(dataDir);
    await until('all three have failed', async () => (await figures('cleanup')).failed === 3);
    const drop = (sent: object) => act('cleanup', 'drop-failed', sent);
    assert.deepEqual(await drop({ ids: ['b', 'later', 'nobody'] }), { name: 'cleanup', dropped: 1 });
    const { jobs: left } = await figures('cleanup', '?state=failed');
    assert.deepEqual(left!.map(({ id }) => id).sort(), ['a', 'c']);
    assert.match(left![0].reason!, /payload/);
    assert.deepEqual(await drop({ all: true }), { name: 'cleanup', dropped: 2 });
    const { failed, delayed } = await figures('cleanup');
    assert.deepEqual([failed, delayed], [0, 1]);
    const audit = await getJson(`${server.api}/api/v1/audit?action=queue.drop-failed`, server.key);
    const dropped = (audit.body as { data: { details: { dropped: number } }[] }).data.map(
      ({ details }) => details.dropped,
    );
    assert.deepEqual(dropped.slice(0, 2).sort(), [1, 2]);
    await server.stop();
    server = await Server.start(dataDir);
    assert.equal((await figures('cleanup')).failed, 0, 'after a restart');
  });
});
