import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openPostgres, type Postgres } from '../src/connections/postgres.js';
import { insertChannel } from '../src/notifications/channel-rows.js';
import { SecretBox } from '../src/secret-box.js';
import { openAccessDatabase } from './support/access-database.js';
import { HttpReceiver } from './support/receivers.js';

const CHILD = fileURLToPath(new URL('./support/delivery-child.js', import.meta.url));
const KEY = 'a key of this test that is long enough';
const folder = mkdtempSync(join(tmpdir(), 'tf-delivery-kill-'));
const channelId = randomUUID();
let tenantId: string;
let receiver: HttpReceiver;

before(async () => {
  receiver = await HttpReceiver.start();
  const { postgres, scope } = await openAccessDatabase(folder);
  tenantId = scope.tenantId;
  await postgres.query('CREATE TABLE test_incidents (id uuid NOT NULL)');
  const settings = { url: receiver.url() };
  const channel = {
    id: channelId,
    name: 'hook',
    kind: 'webhook',
    enabled: true,
    createdBy: 'test',
    settings,
  } as const;
  const box = new SecretBox(Buffer.from(KEY));
  await postgres.dataSource.transaction((manager) => insertChannel(scope, manager, box, channel));
  await postgres.close();
});
after(async () => {
  await receiver.close();
  rmSync(folder, { recursive: true, force: true });
});

/** @returns whether it was killed */
async function run(what: 'tell' | 'recover', step = ''): Promise<boolean> {
  const child = spawn(process.execPath, [CHILD, what, folder, tenantId, channelId, step], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const [code, signal] = await once(child, 'exit');
  assert.ok(signal === 'SIGKILL' || code === 0, `${what} ${step}: ${code} ${signal}`);
  return signal === 'SIGKILL';
}

async function withDatabase<T>(work: (postgres: Postgres) => Promise<T>): Promise<T> {
  const postgres = await openPostgres({ DATA_DIR: folder, DATABASE_URL: undefined });
  try {
    return await work(postgres);
  } finally {
    await postgres.close();
  }
}

/** Incidents that are there, and how the deliveries of them stand. @param isLast they are removed for the next test */
const standing = (isLast = false) =>
  withDatabase(async (postgres) => {
    const incidents = await postgres.query('SELECT id FROM test_incidents');
    const rows = await postgres.query<{ state: string }>('SELECT state FROM notification_deliveries');
    if (isLast) await postgres.query('TRUNCATE test_incidents, notification_deliveries');
    return { incidents: incidents.length, states: rows.map(({ state }) => state) };
  });

describe('A notification, its process killed', () => {
  /** What is there after the kill, how often the receiver was told by then, and how often in the end. */
  const cases = [
    { step: 'written', incidents: 0, states: [], told: 0, finally: 0 },
    { step: 'committed', incidents: 1, states: ['pending'], told: 0, finally: 1 },
    { step: 'delivery-claimed', incidents: 1, states: ['pending'], told: 0, finally: 1 },
    { step: 'delivery-sent', incidents: 1, states: ['pending'], told: 1, finally: 2 },
    { step: 'delivery-noted', incidents: 1, states: ['sent'], told: 1, finally: 1 },
  ];
  for (const { step, incidents, states, told, finally: total } of cases)
    it(`at the step ${step}: is neither lost nor told twice under another id`, async () => {
      receiver.received.length = 0;
      assert.ok(await run('tell', step), 'the step was reached');
      assert.equal(receiver.received.length, told);
      assert.deepEqual(await standing(), { incidents, states });
      assert.equal(await run('recover'), false);
      assert.equal(receiver.received.length, total);
      assert.deepEqual(await standing(true), { incidents, states: incidents === 0 ? [] : ['sent'] });
      const keys = new Set(receiver.received.map(({ headers }) => headers['idempotency-key']));
      assert.equal(keys.size, Math.min(total, 1));
    });
});
