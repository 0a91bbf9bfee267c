import { Global, Module } from '@nestjs/common';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { AUDIT } from '../edge/audit.js';
import { QUOTAS } from '../edge/quota.js';
import { DEFAULT_SCOPE } from '../edge/scope.js';
import { LOGGER } from '../log.js';
import { ApiKeysController } from './api-keys.controller.js';
import { AuditController } from './audit.controller.js';
import { PostgresAudit } from './audit-trail.js';
import { ensureDefaultTenant } from './default-tenant.js';
import { OrganizationsController, TenantsController, WorkspacesController } from './hierarchy.controller.js';
import { Changes } from './rows.js';
import { TenantQuotas } from './tenant-quotas.js';
import { UsersController } from './users.controller.js';

/** Organizations, workspaces, tenants, their users and keys, and the record of who did what. */
@Global()
@Module({
  controllers: [
    OrganizationsController,
    WorkspacesController,
    TenantsController,
    UsersController,
    ApiKeysController,
    AuditController,
  ],
  providers: [
    { provide: DEFAULT_SCOPE, inject: [DataSource], useFactory: ensureDefaultTenant },
    {
      provide: QUOTAS,
      inject: [DataSource, LOGGER],
      useFactory: (source: DataSource, log: Logger) => new TenantQuotas(source, log),
    },
    { provide: AUDIT, useClass: PostgresAudit },
    Changes,
  ],
  exports: [DEFAULT_SCOPE, AUDIT, QUOTAS, Changes],
})
export class TenantsModule {}
