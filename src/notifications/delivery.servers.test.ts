import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { Registry } from 'prom-client';
import { openAccessDatabase, SILENT } from '../../test/support/access-database.js';
import { makeNotice } from '../../test/support/notices.js';
import { type PostgresServer, startPostgres } from '../../test/support/postgres-server.js';
import { HttpReceiver } from '../../test/support/receivers.js';
import { openPostgres, type Postgres } from '../connections/postgres.js';
import type { Scope } from '../edge/scope.js';
import { addDeliveries, pendingDeliveries } from '../notices/deliveries.js';
import { DeliveryMetrics } from '../notices/delivery-metrics.js';
import { Outside } from '../outbound/outside.js';
import { SecretBox } from '../secret-box.js';
import { insertChannel } from './channel-rows.js';
import { DeliveryWorker } from './delivery.worker.js';

const PROCESSES = 4;
const box = new SecretBox(Buffer.from('a key of this test that is long enough'));

/** Several processes on one PostgreSQL, whose statements really run beside each other. */
describe('Deliveries on a PostgreSQL server', { concurrency: false }, () => {
  let server: PostgresServer;
  let pools: Postgres[];
  let scope: Scope;
  let receiver: HttpReceiver;
  let workers: DeliveryWorker[];
  const channelId = randomUUID();

  before(async () => {
    receiver = await HttpReceiver.start();
    server = await startPostgres();
    const opened = await openAccessDatabase('', server.url);
    scope = opened.scope;
    const more = Array.from({ length: PROCESSES - 1 }, () =>
      openPostgres({ DATA_DIR: '', DATABASE_URL: server.url }),
    );
    pools = [opened.postgres, ...(await Promise.all(more))];
    workers = pools.map(
      ({ dataSource }) =>
        new DeliveryWorker({
          source: dataSource,
          box,
          outside: new Outside({ allowNetworks: ['127.0.0.1'] }),
          queues: { addAll: async () => [] },
          log: SILENT,
          metrics: new DeliveryMetrics(new Registry()),
          tries: 5,
          publicUrl: undefined,
        }),
    );
    const settings = { url: receiver.url() };
    const channel = {
      id: channelId,
      name: 'hook',
      kind: 'webhook',
      enabled: true,
      settings,
      createdBy: 'test',
    } as const;
    await pools[0].dataSource.transaction((manager) => insertChannel(scope, manager, box, channel));
  });
  after(async () => {
    await Promise.all(pools.map((pool) => pool.close()));
    await server.stop();
    await receiver.close();
  });

  it('of one notice that several write at once are written once', async () => {
    const notice = makeNotice({ id: randomUUID() });
    const written = await Promise.all(
      pools.map(({ dataSource }) =>
        dataSource.transaction((manager) => addDeliveries(manager, scope, notice, [channelId])),
      ),
    );
    assert.equal(new Set(written.flat()).size, 1);
    assert.deepEqual(
      written.map((ids) => ids.length),
      pools.map(() => 1),
    );
  });

  it('that several jobs are at in several processes are sent once', async () => {
    const ids = await pools[0].dataSource.transaction(async (manager) => {
      const made: string[] = [];
      for (let i = 0; i < 20; i++)
        made.push(...(await addDeliveries(manager, scope, makeNotice({ id: randomUUID() }), [channelId])));
      return made;
    });
    const { signal } = new AbortController();
    const results = await Promise.all(
      ids.flatMap((id) =>
        workers.map((worker, index) =>
          worker.deliver({ id: `${id}.${index}`, payload: { delivery_id: id }, signal }),
        ),
      ),
    );
    assert.equal(results.filter(({ state }) => state === 'sent').length, ids.length);
    const keys = receiver.received.map(({ headers }) => headers['idempotency-key']);
    assert.deepEqual([keys.length, new Set(keys).size], [ids.length, ids.length]);
    const pending = await pendingDeliveries(pools[0].dataSource, new Date(Date.now() + 60_000));
    assert.ok(!pending.some(({ payload }) => ids.includes(payload.delivery_id)));
  });
});
