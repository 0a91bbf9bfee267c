import { Controller, Get, Inject, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { ClickHouse } from '../connections/clickhouse.js';
import { Postgres } from '../connections/postgres.js';
import { Redis } from '../connections/redis.js';
import { Public } from '../edge/scope.guard.js';
import { ApiRoute } from '../http/api-route.js';
import { RedisDurability } from '../jobs/bullmq-redis.js';
import { Freshness } from '../ledger/freshness.js';
import { INGEST_QUEUE, type IngestQueue } from '../queue/ingest-queue.js';
import { DiskUse } from './disk-use.js';

const alive = z.object({ status: z.literal('up') });
/** Each dependency tells more of itself than whether it is up. */
const readiness = z.object({
  status: z.enum(['up', 'down']),
  dependencies: z.record(z.string(), z.looseObject({ status: z.enum(['up', 'down']) })),
});

/** What is still done while Redis is away, only less well; so it is not needed to be ready, unless the queue is in it. */
const WITHOUT_REDIS = 'rate limits per process';

/** Is the process alive; are the things that it needs there. */
@Public()
@Controller('health')
export class HealthController {
  constructor(
    @Inject(ClickHouse) private readonly clickhouse: ClickHouse,
    @Inject(Postgres) private readonly postgres: Postgres,
    @Inject(Redis) private readonly redis: Redis | undefined,
    @Inject(INGEST_QUEUE) private readonly queue: IngestQueue,
    @Inject(Freshness) private readonly freshness: Freshness,
    @Inject(DiskUse) private readonly disk: DiskUse,
    @Inject(RedisDurability) private readonly durability: RedisDurability | undefined,
  ) {}

  @ApiRoute({ summary: 'Is the process alive', response: alive })
  @Get('live')
  live(): { status: 'up' } {
    return { status: 'up' };
  }

  /** 200 when every dependency that is needed answers, else 503; either way one entry per dependency. */
  @ApiRoute({
    summary: 'Are the things there that it needs',
    description: 'Also with 503 the body tells of every dependency.',
    response: readiness,
    statuses: [503],
  })
  @Get('ready')
  async ready(@Res({ passthrough: true }) reply: FastifyReply) {
    const [clickhouse, postgres, redis, queue] = await Promise.all([
      this.clickhouse.health(),
      this.postgres.health(),
      this.redis?.health(),
      this.queueHealth(),
    ]);
    const ingest = this.freshness.health(Date.now());
    const disk = this.disk.health();
    const jobs = this.durability?.health();
    const up = [clickhouse, postgres, jobs, queue].every(
      (health) => health === undefined || health.status === 'up',
    );
    reply.status(up ? 200 : 503);
    return {
      status: up ? 'up' : 'down',
      dependencies: {
        clickhouse,
        postgres,
        ...(redis && { redis: redis.status === 'up' ? redis : { ...redis, degraded: WITHOUT_REDIS } }),
        ...(jobs && { jobs }),
        queue,
        ...(ingest && { ingest }),
        ...(disk && { disk }),
      },
    };
  }

  private async queueHealth() {
    try {
      return { status: 'up', ...(await this.queue.stats()) } as const;
    } catch (error) {
      return { status: 'down', detail: (error as Error).message } as const;
    }
  }
}
