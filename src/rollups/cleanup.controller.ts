import { Body, Controller, HttpCode, Inject, Post, Req } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { AUDIT, type AuditTrail } from '../edge/audit.js';
import { CurrentPrincipal } from '../edge/current-scope.js';
import { assertOperator } from '../edge/operator.js';
import type { Principal } from '../edge/principal.js';
import { Requires } from '../edge/scope.guard.js';
import { DEFAULT_SCOPE, type Scope } from '../edge/scope.js';
import { ApiRoute } from '../http/api-route.js';
import { parseBody } from '../http/request.schema.js';
import { DATA_TYPES } from '../retention.js';
import { type CleanedUp, CleanupWorker } from './cleanup.worker.js';

const cleanupBody = z.object({
  dry_run: z.boolean({ error: 'true or false' }).default(false),
  data_type: z.enum(['all', ...DATA_TYPES]).default('all'),
});

const cleanedUp = z.object({
  dry_run: z.boolean(),
  deleted: z.array(
    z.object({
      organization_id: z.string(),
      workspace_id: z.string(),
      tenant_id: z.string(),
      data_type: z.enum(DATA_TYPES),
      rows: z.int(),
    }),
  ),
  rows: z.int(),
  partitions: z.int().describe('dropped whole'),
  bytes: z.int().describe('on disk, of the partitions dropped whole'),
});

export type CleanupAnswer = z.output<typeof cleanedUp>;

/** Dropping at once what the nightly cleanup would. */
@Requires('admin')
@Controller('api/v1/cleanup')
export class CleanupController {
  constructor(
    @Inject(CleanupWorker) private readonly worker: CleanupWorker,
    @Inject(DEFAULT_SCOPE) private readonly home: Scope,
    @Inject(AUDIT) private readonly audit: AuditTrail,
  ) {}

  @ApiRoute({
    summary: 'Delete what has outlived its retention',
    description:
      'As the nightly cleanup does; with dry_run it only counts what would go. For admins of the organization that the first start made: it \
is about the data of all tenants. A run goes on when its client hangs up.',
    body: cleanupBody,
    response: cleanedUp satisfies z.ZodType<CleanedUp & { dry_run: boolean }>,
    status: 200,
    errors: ['UNAVAILABLE'],
  })
  @Post()
  @HttpCode(200)
  async run(
    @CurrentPrincipal() principal: Principal,
    @Req() { ip, id }: FastifyRequest,
    @Body() body: unknown,
  ): Promise<CleanupAnswer> {
    assertOperator(principal, this.home);
    const { dry_run, data_type } = parseBody(cleanupBody, body ?? {});
    const run = { dataType: data_type, nowMs: Date.now() };
    const done = await (dry_run ? this.worker.look(run) : this.worker.run(run));
    if (!dry_run)
      await this.audit.record({
        action: 'cleanup.run',
        result: 'ok',
        principal,
        remoteAddress: ip,
        correlationId: id,
        details: { data_type, rows: done.rows, partitions: done.partitions },
      });
    return { dry_run, ...done };
  }
}
