import 'reflect-metadata';
import type { AddressInfo } from 'node:net';
import { type CanActivate, type ExecutionContext, Module } from '@nestjs/common';
import { APP_FILTER, APP_GUARD, NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import pino from 'pino';
import { Answers } from '../../src/answers/answers.js';
import { CacheService } from '../../src/cache/cache.service.js';
import { ClickHouse } from '../../src/connections/clickhouse.js';
import { AUDIT } from '../../src/edge/audit.js';
import { Credentials } from '../../src/edge/credentials.js';
import type { ScopedRequest } from '../../src/edge/current-scope.js';
import { ErrorFilter } from '../../src/edge/error.filter.js';
import type { Permission, Principal } from '../../src/edge/principal.js';
import { TRUSTED_PROXIES } from '../../src/edge/remote-address.js';
import { ExploreModule } from '../../src/explore/explore.module.js';
import { LOGGER } from '../../src/log.js';
import { TENANT_A, TENANT_B } from './telemetry-store.js';

interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: whatever JSON the route answers
  body: any;
}

/** The tenant named in a header: what the real guard finds out from a credential. */
function principalOf(headers: Record<string, unknown>): Principal {
  const scope = headers['x-test-tenant'] === 'b' ? TENANT_B : TENANT_A;
  const permissions = new Set<Permission>(headers['x-test-admin'] ? ['read', 'admin'] : ['read']);
  return { kind: 'key', id: 'test', name: 'test', scope, permissions };
}

class TestGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<ScopedRequest & { headers: Record<string, unknown> }>();
    request.principal = principalOf(request.headers);
    return true;
  }
}

/** The query API over a store, without the rest of the program. */
export class ExploreApp {
  private constructor(readonly app: NestFastifyApplication) {}

  static async start(clickhouse: ClickHouse): Promise<ExploreApp> {
    const log = pino({ level: 'silent' });
    const cache = new CacheService({ maxEntries: 1000, maxBytes: 1e8 }, undefined, log);
    const credentials = { resolve: async ({ headers }: { headers: object }) => principalOf({ ...headers }) };
    const providers = [
      { provide: ClickHouse, useValue: clickhouse },
      { provide: Answers, useValue: new Answers(cache, 'until-changed', 'store') },
      { provide: LOGGER, useValue: log },
      { provide: AUDIT, useValue: { record: async () => undefined, refuse: () => undefined } },
      { provide: Credentials, useValue: credentials },
      { provide: TRUSTED_PROXIES, useValue: undefined },
    ];
    const exports = providers.map(({ provide }) => provide);
    @Module({
      imports: [{ module: class Store {}, global: true, providers, exports }, ExploreModule],
      providers: [
        { provide: APP_GUARD, useClass: TestGuard },
        { provide: APP_FILTER, useClass: ErrorFilter },
      ],
    })
    class TestModule {}
    const options = { logger: false, abortOnError: false } as const;
    const app = await NestFactory.create<NestFastifyApplication>(TestModule, new FastifyAdapter(), options);
    await app.init();
    await app.getHttpAdapter().getInstance().ready();
    return new ExploreApp(app);
  }

  /** Of /api/v1, without a socket. */
  async get(path: string, tenant = 'a', isAdmin = false): Promise<Answer> {
    const answer = await this.app.inject({
      method: 'GET',
      url: `/api/v1${path}`,
      headers: { 'x-test-tenant': tenant, ...(isAdmin ? { 'x-test-admin': '1' } : {}) },
    });
    return { status: answer.statusCode, body: answer.json() };
  }

  /** Listens on a free port; the base of /api/v1. */
  async listen(): Promise<string> {
    await this.app.listen(0, '127.0.0.1');
    const { port } = this.app.getHttpServer().address() as AddressInfo;
    return `http://127.0.0.1:${port}/api/v1`;
  }

  close(): Promise<void> {
    // fetch() opens a connection in reserve when one breaks; nothing ever comes on it, and a server waits for that.
    this.app.getHttpServer().closeAllConnections();
    return this.app.close();
  }
}
