import { Global, Module } from '@nestjs/common';
import { APP_FILTER, APP_GUARD } from '@nestjs/core';
import { CONFIG, type Config } from '../config.js';
import { BodyPool } from './body-pool.js';
import { Credentials } from './credentials.js';
import { ErrorFilter } from './error.filter.js';
import { IDENTITIES, type Identities } from './principal.js';
import { ScopeGuard } from './scope.guard.js';
import { DEFAULT_SCOPE, type Scope } from './scope.js';

/** Layer 1: who are you, and what is said when something is refused. */
@Global()
@Module({
  providers: [
    BodyPool,
    {
      provide: Credentials,
      inject: [IDENTITIES, DEFAULT_SCOPE, CONFIG],
      useFactory: (identities: Identities, scope: Scope, config: Config) =>
        new Credentials(identities, scope, config.INGEST_ANONYMOUS),
    },
    { provide: APP_GUARD, useClass: ScopeGuard },
    { provide: APP_FILTER, useClass: ErrorFilter },
  ],
  exports: [BodyPool, Credentials],
})
export class EdgeModule {}
