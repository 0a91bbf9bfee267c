import { Global, Module } from '@nestjs/common';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { AUDIT } from '../edge/audit.js';
import { DEFAULT_SCOPE } from '../edge/scope.js';
import { LOGGER } from '../log.js';
import { SqlAuditTrail } from './audit-trail.js';
import { ensureDefaultTenant } from './default-tenant.js';

/** Organizations, workspaces and tenants; for now the default ones, made on the first start. */
@Global()
@Module({
  providers: [
    { provide: DEFAULT_SCOPE, inject: [DataSource], useFactory: ensureDefaultTenant },
    {
      provide: AUDIT,
      inject: [DataSource, LOGGER],
      useFactory: (source: DataSource, log: Logger) => new SqlAuditTrail(source, log),
    },
  ],
  exports: [DEFAULT_SCOPE, AUDIT],
})
export class TenantsModule {}
