import { Global, Module } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { IDENTITIES, type Identities } from '../edge/principal.js';
import { DEFAULT_SCOPE } from '../edge/scope.js';
import { ensureDefaultTenant } from './default-tenant.js';

/** Organizations, workspaces and tenants; for now the default ones, made on the first start. */
@Global()
@Module({
  providers: [
    { provide: DEFAULT_SCOPE, inject: [DataSource], useFactory: ensureDefaultTenant },
    { provide: IDENTITIES, useValue: { find: async () => undefined } satisfies Identities },
  ],
  exports: [DEFAULT_SCOPE, IDENTITIES],
})
export class TenantsModule {}
