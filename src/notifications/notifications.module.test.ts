import 'reflect-metadata';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Global, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Registry } from 'prom-client';
import { DataSource } from 'typeorm';
import { AuditList, openAccessDatabase, SILENT } from '../../test/support/access-database.js';
import { CONFIG, loadConfig } from '../config.js';
import type { Postgres } from '../connections/postgres.js';
import { AUDIT } from '../edge/audit.js';
import { IDENTITIES } from '../edge/principal.js';
import type { Scope } from '../edge/scope.js';
import { JobHandlers } from '../jobs/job-handlers.js';
import { JOB_QUEUES } from '../jobs/job-queue.js';
import { LOGGER } from '../log.js';
import { SecretBox } from '../secret-box.js';
import { Changes } from '../tenants/rows.js';
import { insertChannel } from './channel-rows.js';
import { DeliveryWorker } from './delivery.worker.js';
import { DeliveriesModule } from './notifications.module.js';

const OLD = 'o'.repeat(32);
const NEW = 'n'.repeat(32);
const folder = mkdtempSync(join(tmpdir(), 'tf-notifications-'));
let postgres: Postgres;
let scope: Scope;

before(async () => {
  ({ postgres, scope } = await openAccessDatabase(folder));
});
after(async () => {
  await postgres.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The rooms' part of a program with these settings. */
async function start(env: Record<string, string>) {
  const providers = [
    { provide: CONFIG, useValue: loadConfig({ DATA_DIR: folder, ...env }) },
    { provide: LOGGER, useValue: SILENT },
    { provide: DataSource, useValue: postgres.dataSource },
    { provide: AUDIT, useValue: new AuditList() },
    { provide: IDENTITIES, useValue: { find: async () => undefined, expire: () => undefined } },
    { provide: JOB_QUEUES, useValue: { addAll: async () => [] } },
    { provide: Registry, useValue: new Registry() },
    Changes,
    JobHandlers,
  ];
  @Global()
  @Module({ providers, exports: providers.map((one) => ('provide' in one ? one.provide : one)) })
  class Rest {}
  @Module({ imports: [Rest, DeliveriesModule] })
  class Program {}
  return NestFactory.createApplicationContext(Program, { logger: false, abortOnError: false });
}

describe('Notifications in a program', () => {
  it('encrypt anew at the start what was encrypted under the key before', async () => {
    const id = randomUUID();
    const settings = { url: 'https://hooks.example/x' };
    const channel = { id, name: 'x', kind: 'slack', enabled: true, settings, createdBy: 'test' } as const;
    const box = new SecretBox(Buffer.from(OLD));
    await postgres.dataSource.transaction((manager) => insertChannel(scope, manager, box, channel));
    const keyOf = async () =>
      (await postgres.query<{ key_id: string }>('SELECT key_id FROM notification_channels'))[0].key_id;
    await (await start({ SECRET_KEY: NEW })).close();
    assert.equal(await keyOf(), box.keyId, 'what cannot be read stays as it is');
    await (await start({ SECRET_KEY: NEW, SECRET_KEY_PREVIOUS: OLD })).close();
    assert.equal(await keyOf(), new SecretBox(Buffer.from(NEW)).keyId);
  });

  it('have a worker, and stop', async () => {
    const app = await start({ SECRET_KEY: NEW });
    const { signal } = new AbortController();
    const result = await app
      .get(DeliveryWorker)
      .deliver({ id: 'x', payload: { delivery_id: randomUUID() }, signal });
    assert.deepEqual(result, { state: 'skipped' });
    await app.close();
  });
});
