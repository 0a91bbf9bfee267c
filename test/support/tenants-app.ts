import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Module, type ModuleMetadata } from '@nestjs/common';
import { APP_FILTER, APP_GUARD, NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import pino from 'pino';
import { DataSource } from 'typeorm';
import { migrationsFolder } from '../../src/connections/migration-files.js';
import type { Postgres } from '../../src/connections/postgres.js';
import { AUDIT } from '../../src/edge/audit.js';
import { Credentials } from '../../src/edge/credentials.js';
import { ErrorFilter } from '../../src/edge/error.filter.js';
import {
  IDENTITIES,
  type Identities,
  PERMISSIONS,
  PERMISSIONS_OF_ROLE,
  type Permission,
  type Principal,
  type Role,
} from '../../src/edge/principal.js';
import { TRUSTED_PROXIES } from '../../src/edge/remote-address.js';
import { ScopeGuard } from '../../src/edge/scope.guard.js';
import type { Scope } from '../../src/edge/scope.js';
import { LOGGER } from '../../src/log.js';
import { splitStatements } from '../../src/sql/sql-text.js';
import { createApiKey } from '../../src/tenants/api-key.js';
import { ApiKeysController } from '../../src/tenants/api-keys.controller.js';
import { AuditController } from '../../src/tenants/audit.controller.js';
import { PostgresAudit } from '../../src/tenants/audit-trail.js';
import {
  OrganizationsController,
  TenantsController,
  WorkspacesController,
} from '../../src/tenants/hierarchy.controller.js';
import { Changes } from '../../src/tenants/rows.js';
import { UsersController } from '../../src/tenants/users.controller.js';

export interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: whatever JSON the route answers
  body: any;
}

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

/** The routes over organizations, users and keys behind the real guard, for principals made without a login. */
export class TenantsApp {
  readonly principals = new Map<string, Principal>();

  private constructor(
    readonly postgres: Postgres,
    private readonly app: NestFastifyApplication,
    principals: Map<string, Principal>,
  ) {
    this.principals = principals;
  }

  /**
   * On an empty database, which it gives the schema.
   *
   * @param more another room's routes, and what they need
   */
  static async open(
    postgres: Postgres,
    more: Required<Pick<ModuleMetadata, 'controllers' | 'providers'>> = { controllers: [], providers: [] },
  ): Promise<TenantsApp> {
    await applySchema(postgres);
    const principals = new Map<string, Principal>();
    const identities: Identities = {
      find: async (credential) => principals.get(credential),
      expire: () => undefined,
    };
    const nowhere = { organizationId: '', workspaceId: '', tenantId: '' };
    const providers = [
      { provide: DataSource, useValue: postgres.dataSource },
      { provide: LOGGER, useValue: pino({ level: 'silent' }) },
      { provide: Credentials, useValue: new Credentials(identities, nowhere, 'off') },
      { provide: IDENTITIES, useValue: identities },
      { provide: TRUSTED_PROXIES, useValue: undefined },
      { provide: AUDIT, useClass: PostgresAudit },
      { provide: APP_GUARD, useClass: ScopeGuard },
      { provide: APP_FILTER, useClass: ErrorFilter },
      Changes,
      ...more.providers,
    ];
    const controllers = [
      OrganizationsController,
      WorkspacesController,
      TenantsController,
      UsersController,
      ApiKeysController,
      AuditController,
      ...more.controllers,
    ];
    @Module({ controllers, providers })
    class TestModule {}
    const app = await NestFactory.create<NestFastifyApplication>(TestModule, new FastifyAdapter(), {
      logger: false,
    });
    await app.init();
    await app.getHttpAdapter().getInstance().ready();
    return new TenantsApp(postgres, app, principals);
  }

  /**
   * @param as name of a principal; undefined: no credential
   * @param body a string is sent as it is
   */
  async request(as: string | undefined, method: Method, path: string, body?: unknown): Promise<Answer> {
    const answer = await this.app.inject({
      method,
      url: `/api/v1${path}`,
      headers: {
        ...(as === undefined ? {} : { authorization: `Bearer ${as}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { payload: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    return { status: answer.statusCode, body: answer.body === '' ? undefined : answer.json() };
  }

  /** An organization with a workspace and a tenant. */
  async makeOrganization(name: string, isDefault = false): Promise<Scope> {
    const scope = { organizationId: randomUUID(), workspaceId: randomUUID(), tenantId: randomUUID() };
    await this.postgres.query('INSERT INTO organizations (id, name) VALUES ($1, $2)', [
      scope.organizationId,
      name,
    ]);
    await this.postgres.query('INSERT INTO workspaces (id, organization_id, name) VALUES ($1, $2, $3)', [
      scope.workspaceId,
      scope.organizationId,
      name,
    ]);
    await this.makeTenant(scope.workspaceId, name, scope.tenantId, isDefault);
    return scope;
  }

  async makeTenant(workspaceId: string, name: string, id = randomUUID(), isDefault = false): Promise<string> {
    await this.postgres.query(
      'INSERT INTO tenants (id, workspace_id, name, is_default) VALUES ($1, $2, $3, $4)',
      [id, workspaceId, name, isDefault],
    );
    return id;
  }

  async join(userId: string, organizationId: string, role: Role): Promise<void> {
    await this.postgres.query(
      'INSERT INTO memberships (user_id, organization_id, role) VALUES ($1, $2, $3)',
      [userId, organizationId, role],
    );
  }

  /** A member, who may send requests under its name. @returns its id */
  async makeUser(name: string, scope: Scope, role: Role): Promise<string> {
    const id = randomUUID();
    await this.postgres.query(
      `INSERT INTO users (id, email, name, password_hash) VALUES ($1, $2, $3, 'none')`,
      [id, `${name}@example.com`, name],
    );
    await this.join(id, scope.organizationId, role);
    const permissions = PERMISSIONS_OF_ROLE[role];
    this.principals.set(name, { kind: 'user', id, name: `${name}@example.com`, scope, permissions, role });
    return id;
  }

  /** A key, which may send requests under its name. @returns its id */
  async makeKey(
    name: string,
    scope: Scope,
    permissions: readonly Permission[] = PERMISSIONS,
  ): Promise<string> {
    const given = { tenantId: scope.tenantId, name, permissions, createdBy: 'system' };
    const { id } = await createApiKey(this.postgres.dataSource, given);
    this.principals.set(name, { kind: 'key', id, name, scope, permissions: new Set(permissions) });
    return id;
  }

  /** Stops the program's part, with all that it does before; the database stays. */
  close(): Promise<void> {
    return this.app.close();
  }
}

async function applySchema(postgres: Postgres): Promise<void> {
  const folder = join(migrationsFolder(), 'postgres');
  for (const name of readdirSync(folder).sort()) {
    const sql = readFileSync(join(folder, name), 'utf8');
    for (const statement of splitStatements(sql, 'postgres')) await postgres.query(statement);
  }
}
