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

@Global()
@Module({
  providers: [
    {
      provide: Answers,
      inject: [CacheService, CONFIG],
      useFactory: (cache: CacheService, config: Config) => new Answers(cache, keepingBy(config)),
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
