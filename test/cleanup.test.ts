import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import type { ExpiryFailpoint } from '../src/failpoints.js';
import type { SignalBalance } from '../src/ledger/ledger-balance.js';
import type { Signal } from '../src/signal.js';
import { call, getJson } from './support/http.js';
import { ITEMS, nowNs, requestOf } from './support/items.js';
import { encode, sendOtlp } from './support/otlp-client.js';
import { makeDataDir, Program, Server } from './support/server.js';
import { makeTenant, type TestTenant } from './support/tenant.js';

const DAY_MS = 86_400_000;
const STEPS: ExpiryFailpoint[] = ['expiry-noted', 'expiry-recorded', 'expiry-dropped'];

describe('Data that is too old', { concurrency: false }, () => {
  const dataDir = makeDataDir();
  let server: Server;
  let short: TestTenant;
  let usual: TestTenant;
  let sent = 0;
  after(() => server?.kill());

  async function send(tenant: TestTenant, signal: Signal, daysAgo: number, count: number): Promise<number> {
    const time = nowNs(-daysAgo * DAY_MS);
    const field = signal === 'traces' ? 'startTimeUnixNano' : 'timeUnixNano';
    const items = Array.from({ length: count }, () => ITEMS[signal](`item ${sent++}`, { [field]: time }));
    const headers = { authorization: `Bearer ${tenant.ingestKey}` };
    const body = encode(signal, 'json', requestOf(signal, items));
    const answer = await sendOtlp(server.otlp, signal, 'json', body, { headers });
    assert.equal(answer.status, 200, String(answer.body));
    const { partialSuccess } = JSON.parse(answer.body.toString()) as {
      partialSuccess?: Record<string, string | number>;
    };
    const rejected = Object.entries(partialSuccess ?? {}).find(([name]) => name.startsWith('rejected'))?.[1];
    return count - Number(rejected ?? 0);
  }

  const request = (method: string, path: string, content: unknown, headers = {}) =>
    call(`${server.api}/api/v1/${path}`, {
      method,
      headers: { authorization: `Bearer ${server.key}`, 'content-type': 'application/json', ...headers },
      body: JSON.stringify(content),
    });

  async function change(method: string, path: string, content: unknown, expected = 200) {
    const { status, body } = await request(method, path, content);
    assert.equal(status, expected, `${path}: ${body}`);
    return JSON.parse(body.toString()) as Record<string, unknown>;
  }

  async function logsOf(tenant: TestTenant) {
    const { body } = await getJson(`${server.api}/api/v1/ledger?from=now-40d&signal=logs`, tenant.readKey);
    const [{ stored, expired, balanced }] = (body as { data: SignalBalance[] }).data;
    const list = await getJson(`${server.api}/api/v1/logs?from=now-40d&limit=1000`, tenant.readKey);
    const shown = (list.body as { data: unknown[] }).data.length;
    return { stored, expired, shown, balanced };
  }

  it('is counted by a dry run on the command line, which deletes nothing', async () => {
    server = await Server.start(dataDir);
    [short, usual] = [await makeTenant(server, 'short'), await makeTenant(server, 'usual')];
    await send(short, 'logs', 10, 40);
    await send(usual, 'logs', 10, 30);
    await send(short, 'logs', 0, 5);
    await server.drained();
    const kept = await change('PUT', `tenants/${short.tenantId}/retention`, { logs: { days: 7 } });
    assert.deepEqual(kept.logs, { days: 7, is_default: false, max_bytes: null });
    const read = await getJson(`${server.api}/api/v1/tenants/${short.tenantId}/retention`, short.readKey);
    assert.deepEqual(read.body, kept);
    const dryRun = new Program(['cleanup', '--dry-run'], { DATA_DIR: dataDir });
    assert.deepEqual(await dryRun.exited, { code: 0, signal: null }, dryRun.output);
    assert.match(dryRun.stdout, new RegExp(`logs\\s+${short.tenantId}\\s+40\n40 rows would be deleted`));
    assert.deepEqual(await logsOf(short), { stored: 45, expired: 0, shown: 45, balanced: true });
  });

  it('goes by the retention of its tenant, is counted in the ledger, and no cached answer shows it', async () => {
    const { deleted, rows } = await change('POST', 'cleanup', { data_type: 'logs' });
    assert.equal(rows, 40, JSON.stringify(deleted));
    assert.deepEqual(await logsOf(short), { stored: 5, expired: 40, shown: 5, balanced: true });
    assert.deepEqual(await logsOf(usual), { stored: 30, expired: 0, shown: 30, balanced: true });
  });

  for (const [nth, step] of STEPS.entries()) {
    it(`${step}: a kill -9 there loses nothing from the count and counts nothing twice`, async () => {
      const before = await logsOf(short);
      await send(short, 'logs', 11 + nth, 17);
      if (nth > 0) await send(usual, 'logs', 11 + nth, 3);
      await server.drained();
      await server.stop();
      server = await Server.start(dataDir, { FAILPOINT: step });
      await request('POST', 'cleanup', {}).catch(() => undefined);
      assert.deepEqual(await server.program.exited, { code: null, signal: 'SIGKILL' });
      server = await Server.start(dataDir);
      await change('POST', 'cleanup', {});
      assert.deepEqual(await logsOf(short), { ...before, expired: before.expired + 17 });
      await change('POST', 'cleanup', {});
      assert.deepEqual(await logsOf(short), { ...before, expired: before.expired + 17 });
    });
  }

  it('of one signal is refused by the retention of that signal', async () => {
    await server.stop();
    server = await Server.start(dataDir, { RETENTION_LOGS_DAYS: '5' });
    assert.equal(await send(usual, 'logs', 6, 4), 0);
    assert.equal(await send(usual, 'traces', 6, 4), 4);
    assert.equal(await send(usual, 'logs', 4, 4), 4);
    await server.drained();
    await change('POST', 'cleanup', {});
    assert.deepEqual(await logsOf(usual), { stored: 4, expired: 36, shown: 4, balanced: true });
  });

  it('is kept for longer than the settings by operators alone, and bad values are named', async () => {
    const path = `tenants/${usual.tenantId}/retention`;
    const refused = await request('PUT', path, { logs: { days: 0 }, spans: {} });
    assert.equal(refused.status, 400);
    assert.match(refused.body.toString(), /logs\.days.*3650/);
    const long = await change('PUT', path, { metrics: { days: 500, max_bytes: 1000 } });
    assert.deepEqual(long.metrics, { days: 500, is_default: false, max_bytes: 1000 });
    assert.deepEqual(long.metrics_hourly, { days: 500, is_default: false, max_bytes: null });
    const back = await change('PUT', path, {});
    assert.deepEqual(back.metrics, { days: 30, is_default: true, max_bytes: null });
    // Who makes an organization owns it, and is a customer there.
    const { id: organization_id } = await change('POST', 'organizations', { name: 'customer' }, 201);
    const { id: workspace_id } = await change(
      'POST',
      'workspaces',
      { organization_id, name: 'customer' },
      201,
    );
    const { id } = await change('POST', 'tenants', { workspace_id, name: 'customer' }, 201);
    const asCustomer = async (path: string, content: unknown, method = 'PUT') =>
      (await request(method, path, content, { 'x-tenant-id': id })).status;
    assert.equal(await asCustomer(`tenants/${id}/retention`, { logs: { days: 3 } }), 200);
    assert.equal(await asCustomer(`tenants/${id}/retention`, { logs: { days: 31 } }), 403);
    assert.equal(await asCustomer('cleanup', { dry_run: true }, 'POST'), 403);
    const { body } = await getJson(`${server.api}/api/v1/audit?action=tenant.retention`, server.key);
    assert.ok((body as { data: unknown[] }).data.length >= 3, JSON.stringify(body));
  });

  it('a limit of the folder that is near is told by /health/ready', async () => {
    await server.stop();
    server = await Server.start(dataDir, { DISK_LIMIT: '1MiB' });
    const disk = async () => {
      const { body } = await getJson(`${server.api}/health/ready`);
      return (body as { dependencies: { disk?: { degraded?: string } } }).dependencies.disk;
    };
    for (let tries = 0; (await disk())?.degraded === undefined; tries++) {
      assert.ok(tries < 300, server.program.output);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.match((await disk())!.degraded!, /DISK_LIMIT/);
    await server.stop();
  });
});
