import { Global, Module } from '@nestjs/common';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { IDENTITIES, type Identities } from '../edge/principal.js';
import { QUOTAS } from '../edge/quota.js';
import { DEFAULT_SCOPE } from '../edge/scope.js';
import { LOGGER } from '../log.js';
import { ensureDefaultTenant } from './default-tenant.js';
import { TenantQuotas } from './tenant-quotas.js';

/** Organizations, workspaces and tenants; for now the default ones, made on the first start. */
@Global()
@Module({
  providers: [
    { provide: DEFAULT_SCOPE, inject: [DataSource], useFactory: ensureDefaultTenant },
    { provide: IDENTITIES, useValue: { find: async () => undefined } satisfies Identities },
    {
      provide: QUOTAS,
      inject: [DataSource, LOGGER],
      useFactory: (source: DataSource, log: Logger) => new TenantQuotas(source, log),
    },
  ],
  exports: [DEFAULT_SCOPE, IDENTITIES, QUOTAS],
})
export class TenantsModule {}
