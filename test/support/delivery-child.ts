import { randomUUID } from 'node:crypto';
import pino from 'pino';
import { Registry } from 'prom-client';
import { openPostgres } from '../../src/connections/postgres.js';
import { armFailpoint } from '../../src/failpoints.js';
import type { NewJob } from '../../src/jobs/job-queue.js';
import { addDeliveries, firstJobs } from '../../src/notices/deliveries.js';
import { DeliveryMetrics } from '../../src/notices/delivery-metrics.js';
import { DeliveryWorker } from '../../src/notifications/delivery.worker.js';
import { Outside } from '../../src/outbound/outside.js';
import { SecretBox } from '../../src/secret-box.js';
import { makeNotice } from './notices.js';

/**
 * A process to be killed. `tell`: writes an incident down and a delivery of it in one transaction, and sends that. `recover`:
 * does what a start after the kill does: the queue gives out again what was in a job's hand, the sweeper finds the rest.
 *
 * Arguments: what to do, database folder, tenant, channel, the step at which it is killed.
 */
const [what, dataDir, tenantId, channelId, step] = process.argv.slice(2);
const KEY = 'a key of this test that is long enough';

const kill = (at: string) => at === step && process.kill(process.pid, 'SIGKILL');
armFailpoint(step);
const postgres = await openPostgres({ DATA_DIR: dataDir, DATABASE_URL: undefined });
const jobs: NewJob<unknown>[] = [];
const worker = new DeliveryWorker({
  source: postgres.dataSource,
  box: new SecretBox(Buffer.from(KEY)),
  outside: new Outside({ allowNetworks: ['127.0.0.1'] }),
  queues: {
    addAll: async (_, added) => {
      jobs.push(...added);
      return added.map(({ id = '' }) => ({ id, isNew: true }));
    },
  },
  log: pino({ level: 'silent' }),
  metrics: new DeliveryMetrics(new Registry()),
  tries: 5,
  publicUrl: undefined,
});

async function tell(): Promise<void> {
  const notice = makeNotice({ id: randomUUID() });
  const scope = { organizationId: '', workspaceId: '', tenantId };
  const ids = await postgres.dataSource.transaction(async (manager) => {
    await manager.query('INSERT INTO test_incidents (id) VALUES ($1)', [notice.incidents[0].id]);
    const written = await addDeliveries(manager, scope, notice, [channelId]);
    kill('written');
    return written;
  });
  kill('committed');
  jobs.push(...firstJobs(ids));
}

async function recover(): Promise<void> {
  const sql = `SELECT id, claimed_by FROM notification_deliveries WHERE state = 'pending' AND claimed_until > now()`;
  const inHand = await postgres.query<{ id: string; claimed_by: string }>(sql);
  jobs.push(...inHand.map(({ id, claimed_by }) => ({ id: claimed_by, payload: { delivery_id: id } })));
  // As late as the sweeper would look.
  await postgres.query(`UPDATE notification_deliveries SET updated_at = updated_at - interval '5 minutes',
    due_at = due_at - interval '5 minutes'`);
  await worker.sweep(Date.now());
}

await (what === 'tell' ? tell() : recover());
for (const { id = '', payload } of jobs)
  await worker.deliver({
    id,
    payload: payload as { delivery_id: string },
    signal: new AbortController().signal,
  });
await postgres.close();
