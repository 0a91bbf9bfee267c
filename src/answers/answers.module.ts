import { hostname } from 'node:os';
import { Global, Module } from '@nestjs/common';
import { CacheService } from '../cache/cache.service.js';
import { CONFIG, type Config } from '../config.js';
import { Answers, type Keeping } from './answers.js';
import { StaleAnswers } from './stale-answers.js';

/** Others may store into a ClickHouse server; only over Redis is it heard that they have. */
export function keepingBy(
  config: Pick<Config, 'CACHE_L1_ENTRIES' | 'CLICKHOUSE_URL' | 'REDIS_URL'>,
): Keeping {
  if (config.CACHE_L1_ENTRIES === 0) return 'off';
  return config.CLICKHOUSE_URL !== undefined && config.REDIS_URL === undefined ? 'second' : 'until-changed';
}

/** The ClickHouse that answers; one that is built in is each process's own. */
export function storeBy(config: Pick<Config, 'CLICKHOUSE_URL' | 'CLICKHOUSE_DATABASE' | 'DATA_DIR'>): string {
  const { CLICKHOUSE_URL, CLICKHOUSE_DATABASE, DATA_DIR } = config;
  return CLICKHOUSE_URL === undefined
    ? `${hostname()} ${DATA_DIR}`
    : `${CLICKHOUSE_URL} ${CLICKHOUSE_DATABASE}`;
}

@Global()
@Module({
  providers: [
    {
      provide: Answers,
      inject: [CacheService, CONFIG],
      useFactory: (cache: CacheService, config: Config) =>
        new Answers(cache, keepingBy(config), storeBy(config)),
    },
    {
      provide: StaleAnswers,
      inject: [CacheService],
      useFactory: (cache: CacheService) => new StaleAnswers(cache),
    },
  ],
  exports: [Answers, StaleAnswers],
})
export class AnswersModule {}
