import type { CacheService } from '../cache/cache.service.js';
import type { CacheKey } from '../cache/cache-key.js';
import { CacheProfile } from '../cache/cache-profile.js';
import type { Lookup } from './lookup.js';

/**
 * What PostgreSQL knows of a credential, asked for once by all instances for each version of `access_version`. The version is part of the key: what is
 * kept was read after that version was, so a change, which makes another version, needs to drop nothing.
 */
export class VersionedRows<Row extends object> {
  constructor(
    private readonly cache: Pick<CacheService, 'wrap'>,
    private readonly keyOf: (id: string, version: string) => CacheKey,
    private readonly lookup: Lookup<Row>,
  ) {}

  /**
   * The row with this id as it was at the version or later; undefined when there is none, which is kept nowhere: guesses push out nothing.
   *
   * @throws AppError UNAVAILABLE as `Lookup.find` does
   */
  async find(id: string, version: string): Promise<Row | undefined> {
    const key = this.keyOf(id, version);
    return (await this.cache.wrap(key, CacheProfile.SHORT, () => this.lookup.find(id))).value;
  }
}
