import { Global, Module } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { DEFAULT_SCOPE } from '../edge/scope.js';
import { ensureDefaultTenant } from './default-tenant.js';

/** Organizations, workspaces and tenants; for now the default ones, made on the first start. */
@Global()
@Module({
  providers: [{ provide: DEFAULT_SCOPE, inject: [DataSource], useFactory: ensureDefaultTenant }],
  exports: [DEFAULT_SCOPE],
})
export class TenantsModule {}
