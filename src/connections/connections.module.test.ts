import 'reflect-metadata';
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import pino from 'pino';
import { DataSource } from 'typeorm';
import { CONFIG, loadConfig } from '../config.js';
import { StartupError } from '../errors.js';
import { LOGGER } from '../log.js';
import { PACKAGE_ROOT } from '../version.js';
import { ClickHouse } from './clickhouse.js';
import { ConnectionsModule } from './connections.module.js';
import { Postgres } from './postgres.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-connections-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const MIGRATIONS = readdirSync(join(PACKAGE_ROOT, 'migrations', 'postgres')).length;

function application(env: Record<string, string>) {
  const config = {
    provide: CONFIG,
    useValue: loadConfig({ DATA_DIR: folder, MEMORY_LIMIT: '1GiB', ...env }),
  };
  const logger = { provide: LOGGER, useValue: pino({ level: 'silent' }) };
  @Module({})
  class Settings {}
  @Module({
    imports: [
      { module: Settings, global: true, providers: [config, logger], exports: [CONFIG, LOGGER] },
      ConnectionsModule,
    ],
  })
  class Application {}
  return NestFactory.createApplicationContext(Application, { logger: false, abortOnError: false });
}

describe('ConnectionsModule', () => {
  it('gives connected, migrated databases and closes them, any number of times', async () => {
    for (let round = 0; round < 2; round++) {
      const app = await application({});
      const clickhouse = app.get(ClickHouse);
      const postgres = app.get(Postgres);
      assert.equal(app.get(DataSource), postgres.dataSource);
      assert.deepEqual(await clickhouse.health(), { status: 'up' });
      assert.deepEqual(await postgres.health(), { status: 'up' });
      assert.deepEqual((await clickhouse.read('SELECT count() AS n FROM telemetry_traces')).rows, [
        { n: '0' },
      ]);
      const recorded = await postgres.query('SELECT count(*)::integer AS n FROM schema_migrations');
      await app.close();
      assert.deepEqual(recorded, [{ n: MIGRATIONS }]);
      assert.equal(await clickhouse.ping(), false);
      assert.equal((await postgres.health()).status, 'down');
    }
    assert.ok(!existsSync(join(folder, 'postgres', 'postmaster.pid')));
  });

  it('closes what it had opened when the other cannot be', async () => {
    await assert.rejects(application({ CLICKHOUSE_URL: 'http://127.0.0.1:1' }), (error: Error) => {
      assert.ok(error instanceof StartupError, String(error));
      assert.match(error.message, /ClickHouse cannot be reached/);
      return true;
    });
    const again = await application({});
    await again.close();
  });
});
