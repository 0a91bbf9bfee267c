import { Global, Inject, Module, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { CacheService } from '../cache/cache.service.js';
import { keys } from '../cache/cache-key.js';
import { CONFIG, type Config } from '../config.js';
import { AUDIT, type AuditTrail } from '../edge/audit.js';
import { IDENTITIES } from '../edge/principal.js';
import { LOGGER } from '../log.js';
import { AccessTokens, jwtSecret } from './access-token.js';
import { AccessVersion } from './access-version.js';
import { AuthController } from './auth.controller.js';
import { readKeys, readSessions, readVersion } from './identity-rows.js';
import { KeyUses } from './key-uses.js';
import { KnownIdentities } from './known-identities.js';
import { Lookup } from './lookup.js';
import { removeEndedSessions } from './session-rows.js';
import { Sessions } from './sessions.js';
import { SignInController } from './sign-in.controller.js';
import { SignInCodes } from './sign-in.js';
import { VersionedRows } from './versioned-rows.js';

/** What a credential stands for: keys, logins, and what was known of them less than a second ago. */
@Global()
@Module({
  controllers: [AuthController, SignInController],
  providers: [
    SignInCodes,
    {
      provide: AccessTokens,
      inject: [CONFIG],
      useFactory: (config: Config) => new AccessTokens(jwtSecret(config)),
    },
    {
      provide: KeyUses,
      inject: [DataSource, LOGGER],
      useFactory: (source: DataSource, log: Logger) => new KeyUses(source, log),
    },
    {
      provide: KnownIdentities,
      inject: [DataSource, CacheService, AccessTokens, KeyUses],
      useFactory: (source: DataSource, cache: CacheService, tokens: AccessTokens, uses: KeyUses) =>
        identitiesOf(source, cache, tokens, (keyId, atMs) => uses.note(keyId, atMs)),
    },
    { provide: IDENTITIES, useExisting: KnownIdentities },
    {
      provide: Sessions,
      inject: [DataSource, AccessTokens, AUDIT, KnownIdentities],
      useFactory: (
        source: DataSource,
        tokens: AccessTokens,
        audit: AuditTrail,
        identities: KnownIdentities,
      ) => new Sessions(source, tokens, audit, () => identities.expire()),
    },
  ],
  exports: [IDENTITIES],
})
export class AccessModule implements OnModuleInit, OnModuleDestroy {
  constructor(
    @Inject(KeyUses) private readonly uses: KeyUses,
    @Inject(DataSource) private readonly source: DataSource,
  ) {}

  async onModuleInit(): Promise<void> {
    await removeEndedSessions(this.source);
  }

  /** While PostgreSQL is still connected. */
  async onModuleDestroy(): Promise<void> {
    await this.uses.write();
  }
}

/** The identities that one PostgreSQL knows. */
export function identitiesOf(
  source: DataSource,
  cache: CacheService,
  tokens: AccessTokens,
  used: (keyId: string, atMs: number) => void,
): KnownIdentities {
  const keyRows = new Lookup((prefixes) => readKeys(source, prefixes));
  const sessionRows = new Lookup((ids) => readSessions(source, ids));
  return new KnownIdentities({
    version: new AccessVersion(() => readVersion(source)),
    keys: new VersionedRows(cache, keys.permissions, keyRows),
    sessions: new VersionedRows(cache, keys.session, sessionRows),
    tokens,
    used,
  });
}
