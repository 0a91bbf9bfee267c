import { Global, Module } from '@nestjs/common';
import { APP_FILTER, APP_GUARD } from '@nestjs/core';
import type { Logger } from 'pino';
import { CONFIG, type Config } from '../config.js';
import { LOGGER } from '../log.js';
import { BodyPool } from '../memory/body-pool.js';
import { Credentials } from './credentials.js';
import { ErrorFilter } from './error.filter.js';
import { MemoryBuckets } from './memory-buckets.js';
import { IDENTITIES, type Identities } from './principal.js';
import { RateLimitGuard } from './rate-limit.guard.js';
import { RateLimiter } from './rate-limiter.js';
import { networkList, TRUSTED_PROXIES } from './remote-address.js';
import { ScopeGuard } from './scope.guard.js';
import { DEFAULT_SCOPE, type Scope } from './scope.js';
import { SHARED_BUCKETS, type SharedBucketStore } from './token-bucket.js';

/** Layer 1: who are you, how much may you send, and what is said when something is refused. */
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
    {
      provide: TRUSTED_PROXIES,
      inject: [CONFIG],
      useFactory: (config: Config) => networkList(config.TRUST_PROXY),
    },
    {
      provide: RateLimiter,
      inject: [CONFIG, SHARED_BUCKETS, LOGGER],
      useFactory: (config: Config, shared: SharedBucketStore | undefined, log: Logger) =>
        new RateLimiter(config, new MemoryBuckets(), shared, log),
    },
    // In this order: what the scope guard refuses has been counted.
    { provide: APP_GUARD, useClass: RateLimitGuard },
    { provide: APP_GUARD, useClass: ScopeGuard },
    { provide: APP_FILTER, useClass: ErrorFilter },
  ],
  exports: [BodyPool, Credentials, RateLimiter, TRUSTED_PROXIES],
})
export class EdgeModule {}
