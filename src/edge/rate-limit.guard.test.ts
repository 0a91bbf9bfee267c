import 'reflect-metadata';
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Controller, Get, Global, Module, Post } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import pino from 'pino';
import { CONFIG, loadConfig } from '../config.js';
import { LOGGER } from '../log.js';
import { AUDIT, type AuditTrail } from './audit.js';
import { EdgeModule } from './edge.module.js';
import { IDENTITIES, type Identities, type Principal } from './principal.js';
import { LimitedBy } from './rate-limit.guard.js';
import { Public, Requires } from './scope.guard.js';
import { DEFAULT_SCOPE } from './scope.js';
import { SHARED_BUCKETS } from './token-bucket.js';

const scope = { organizationId: 'o', workspaceId: 'w', tenantId: 't' };
const key = (id: string, limits?: Principal['limits']): Principal => ({
  kind: 'key',
  id,
  name: id,
  scope,
  permissions: new Set(['read']),
  limits,
});
const keys: Record<string, Principal> = {
  plain: key('1'),
  generous: key('2', { default: { limit: 8, ttlMs: 86_400_000 } }),
  other: key('3'),
};
let passwordsLookedAt = 0;

@Controller('api/v1')
class Routes {
  @Public()
  @LimitedBy('login')
  @Post('login')
  login() {
    passwordsLookedAt++;
    return {};
  }

  @Requires('read')
  @Get('question')
  question() {
    return {};
  }

  @Requires('admin')
  @Get('admin')
  admin() {
    return {};
  }
}

@Global()
@Module({
  controllers: [Routes],
  providers: [
    { provide: CONFIG, useValue: loadConfig({ THROTTLE_LIMIT: '4', THROTTLE_TTL: '86400000' }) },
    { provide: LOGGER, useValue: pino({ level: 'silent' }) },
    { provide: DEFAULT_SCOPE, useValue: scope },
    {
      provide: IDENTITIES,
      useValue: { find: async (name) => keys[name], expire: () => undefined } satisfies Identities,
    },
    { provide: SHARED_BUCKETS, useValue: undefined },
    {
      provide: AUDIT,
      useValue: { record: async () => undefined, refuse: () => undefined } satisfies AuditTrail,
    },
  ],
  exports: [AUDIT, CONFIG, LOGGER, DEFAULT_SCOPE, IDENTITIES, SHARED_BUCKETS],
})
class TestModule {}

@Module({ imports: [TestModule, EdgeModule] })
class TestApp {}

describe('The rate limit of API routes', () => {
  let app: NestFastifyApplication;
  before(async () => {
    app = await NestFactory.create<NestFastifyApplication>(TestApp, new FastifyAdapter(), { logger: false });
    await app.init();
  });
  after(() => app.close());

  const ask = async (method: 'GET' | 'POST', path: string, remoteAddress: string, credential?: string) => {
    const headers = credential === undefined ? {} : { 'x-api-key': credential };
    const answer = await app.inject({ method, url: `/api/v1/${path}`, remoteAddress, headers });
    return { status: answer.statusCode, remaining: Number(answer.headers['x-ratelimit-remaining']) };
  };
  const statuses = async (count: number, ...call: Parameters<typeof ask>) => {
    const all: number[] = [];
    for (let n = 0; n < count; n++) all.push((await ask(...call)).status);
    return all;
  };

  it('is of each key, wherever it comes from, and its own where it has one', async () => {
    assert.deepEqual(await statuses(5, 'GET', 'question', '10.0.0.1', 'plain'), [200, 200, 200, 200, 429]);
    assert.equal((await ask('GET', 'question', '10.0.0.2', 'plain')).status, 429);
    const generous = await statuses(9, 'GET', 'question', '10.0.0.1', 'generous');
    assert.deepEqual(generous, [...Array<number>(8).fill(200), 429]);
  });

  it('counts what lacks a permission with its sender, and is told there too', async () => {
    assert.deepEqual(await ask('GET', 'admin', '10.0.0.1', 'other'), { status: 403, remaining: 3 });
    assert.deepEqual(await ask('GET', 'question', '10.0.0.1', 'other'), { status: 200, remaining: 2 });
  });

  it('of an address that guesses is used up, and keys that are known still come in from there', async () => {
    assert.deepEqual(await statuses(5, 'GET', 'question', '10.9.9.9', 'guess'), [401, 401, 401, 401, 429]);
    assert.equal((await ask('GET', 'question', '10.9.9.9', 'other')).status, 200);
    assert.deepEqual(await ask('GET', 'question', '10.9.9.8'), { status: 401, remaining: 3 });
  });

  it('of logins is ten a minute and address, and ends before the password is looked at', async () => {
    const logins = await statuses(12, 'POST', 'login', '10.0.0.3', 'plain');
    assert.deepEqual(logins, [...Array<number>(10).fill(201), 429, 429]);
    assert.equal(passwordsLookedAt, 10);
    assert.equal((await ask('POST', 'login', '10.0.0.4')).status, 201);
  });
});
