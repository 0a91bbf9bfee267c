import { Body, Controller, Get, HttpCode, Inject, Param, Post, Query, Req } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { AUDIT, type AuditTrail } from '../edge/audit.js';
import { CurrentPrincipal } from '../edge/current-scope.js';
import { assertOperator } from '../edge/operator.js';
import type { Principal } from '../edge/principal.js';
import { Requires } from '../edge/scope.guard.js';
import { DEFAULT_SCOPE, type Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import { ApiRoute } from '../http/api-route.js';
import { parseBody, parseQuery, type RawQuery } from '../http/request.schema.js';
import { JOB_QUEUES, type JobInfo, type JobQueues, type JobState } from '../jobs/job-queue.js';
import { Ledger } from '../ledger/ledger.js';
import { INGEST_QUEUE, type IngestQueue } from '../queue/ingest-queue.js';
import { QUEUE_NAMES, type QueueName } from '../queue-numbers.js';
import { QueueFigures } from './queue-figures.js';
import {
  answerOf,
  dropBody,
  droppedAnswer,
  jobAnswer,
  pausedAnswer,
  queueAnswer,
  queueList,
  queueParams,
  queueQuery,
  retriedAnswer,
  retryBody,
} from './queues.schema.js';

const INGESTION = 'otlp-ingestion';
/** The failed set holds 500 by default; what is over this is for the next call. */
const MAX_DROPPED = 10_000;
const OPERATORS =
  'For admins of the organization that the first start made: queues carry the jobs of all tenants.';

/** The five queues: what is in them, how fast they are, and the few things that can be done to them by hand. */
@Requires('admin')
@Controller('api/v1/queues')
export class QueuesController {
  constructor(
    @Inject(QueueFigures) private readonly figures: QueueFigures,
    @Inject(JOB_QUEUES) private readonly jobs: JobQueues,
    @Inject(INGEST_QUEUE) private readonly ingest: IngestQueue,
    @Inject(Ledger) private readonly ledger: Ledger,
    @Inject(DEFAULT_SCOPE) private readonly home: Scope,
    @Inject(AUDIT) private readonly audit: AuditTrail,
  ) {}

  @ApiRoute({
    summary: 'Read the figures of all queues',
    description: OPERATORS,
    response: queueList,
    errors: ['UNAVAILABLE'],
  })
  @Get()
  async list(@CurrentPrincipal() principal: Principal) {
    assertOperator(principal, this.home);
    return { data: (await this.figures.readAll()).map(answerOf) };
  }

  @ApiRoute({
    summary: "Read a queue's figures and jobs",
    description: OPERATORS,
    params: queueParams,
    query: queueQuery,
    response: queueAnswer,
    errors: ['NOT_FOUND', 'UNAVAILABLE'],
  })
  @Get(':name')
  async read(@CurrentPrincipal() principal: Principal, @Param('name') text: string, @Query() raw: RawQuery) {
    const name = this.queueFor(principal, text);
    const { state, page = 1, limit = 100 } = parseQuery(queueQuery, raw);
    const figure = answerOf(await this.figures.read(name));
    if (state === undefined) return figure;
    const jobs = await this.jobsOf(name, state, (page - 1) * limit, limit);
    return { ...figure, jobs: jobs.map(jobAnswer) };
  }

  @ApiRoute({
    summary: 'Pause a queue',
    description: `Nobody takes a job of it until it is resumed, over restarts too; jobs are added all the same. ${OPERATORS}`,
    params: queueParams,
    response: pausedAnswer,
    status: 200,
    errors: ['NOT_FOUND', 'UNAVAILABLE'],
  })
  @Post(':name/pause')
  @HttpCode(200)
  async pause(
    @CurrentPrincipal() principal: Principal,
    @Req() request: FastifyRequest,
    @Param('name') text: string,
  ) {
    const name = this.queueFor(principal, text);
    await (name === INGESTION ? this.ingest.pause() : this.jobs.pause(name));
    await this.note(principal, request, 'queue.pause', name);
    return { name, paused: true };
  }

  @ApiRoute({
    summary: 'Resume a queue',
    description: OPERATORS,
    params: queueParams,
    response: pausedAnswer,
    status: 200,
    errors: ['NOT_FOUND', 'UNAVAILABLE'],
  })
  @Post(':name/resume')
  @HttpCode(200)
  async resume(
    @CurrentPrincipal() principal: Principal,
    @Req() request: FastifyRequest,
    @Param('name') text: string,
  ) {
    const name = this.queueFor(principal, text);
    await (name === INGESTION ? this.ingest.resume() : this.jobs.resume(name));
    await this.note(principal, request, 'queue.resume', name);
    return { name, paused: false };
  }

  @ApiRoute({
    summary: 'Try failed jobs again',
    description: `They get all their tries anew. ${OPERATORS}`,
    params: queueParams,
    body: retryBody,
    response: retriedAnswer,
    status: 200,
    errors: ['NOT_FOUND', 'UNAVAILABLE'],
  })
  @Post(':name/retry-failed')
  @HttpCode(200)
  async retryFailed(
    @CurrentPrincipal() principal: Principal,
    @Req() request: FastifyRequest,
    @Param('name') text: string,
    @Body() body: unknown,
  ) {
    return this.withFailed(principal, request, text, 'queue.retry-failed', async (name) => {
      const { ids } = parseBody(retryBody, body ?? {});
      if (name === INGESTION) return { retried: await this.ingest.retryFailed(ids) };
      return { retried: await this.jobs.retryFailed(name, ids) };
    });
  }

  @ApiRoute({
    summary: 'Drop failed jobs',
    description: `They are gone for good; telemetry among them is \`dropped\` in the ledger of its tenant. ${OPERATORS}`,
    params: queueParams,
    body: dropBody,
    response: droppedAnswer,
    status: 200,
    errors: ['NOT_FOUND', 'UNAVAILABLE'],
  })
  @Post(':name/drop-failed')
  @HttpCode(200)
  async dropFailed(
    @CurrentPrincipal() principal: Principal,
    @Req() request: FastifyRequest,
    @Param('name') text: string,
    @Body() body: unknown,
  ) {
    return this.withFailed(principal, request, text, 'queue.drop-failed', async (name) => {
      const { ids } = parseBody(dropBody, body ?? {});
      const which = ids ?? (await this.failedIds(name));
      if (name === INGESTION) return { dropped: await this.ledger.dropFailed(which) };
      return { dropped: await this.remove(name, which) };
    });
  }

  /** Does something to failed jobs and puts on record to how many. */
  private async withFailed<Count extends Record<string, number>>(
    principal: Principal,
    request: FastifyRequest,
    text: string,
    action: string,
    act: (name: QueueName) => Promise<Count>,
  ): Promise<{ name: QueueName } & Count> {
    const name = this.queueFor(principal, text);
    const count = await act(name);
    await this.note(principal, request, action, name, count);
    return { name, ...count };
  }

  private async failedIds(name: QueueName): Promise<string[]> {
    if (name === INGESTION) return (await this.ingest.failed()).map(({ id }) => id);
    const jobs = await this.jobs.list(name, 'failed', { offset: 0, limit: MAX_DROPPED });
    return jobs.map(({ id }) => id);
  }

  /** An id may be that of a job that has not failed: those stay. */
  private async remove(name: QueueName, ids: readonly string[]): Promise<number> {
    let removed = 0;
    for (const id of new Set(ids)) {
      const isFailed = (await this.jobs.find(name, id))?.state === 'failed';
      if (isFailed && (await this.jobs.remove(name, id))) removed++;
    }
    return removed;
  }

  private queueFor(principal: Principal, text: string): QueueName {
    assertOperator(principal, this.home);
    const name = QUEUE_NAMES.find((known) => known === text);
    if (name) return name;
    throw new AppError('NOT_FOUND', `There is no queue ${text}; there are ${QUEUE_NAMES.join(', ')}.`);
  }

  /** The ingestion has bytes and no jobs: its failed requests are listed, of the rest there are only figures. */
  private async jobsOf(name: QueueName, state: JobState, offset: number, limit: number): Promise<JobInfo[]> {
    if (name !== INGESTION) return this.jobs.list(name, state, { offset, limit });
    if (state !== 'failed') return [];
    const failed = (await this.ingest.failed()).sort((one, other) => other.failedAtMs - one.failedAtMs);
    return failed.slice(offset, offset + limit).map((entry) => ({
      id: entry.id,
      state,
      payload: {
        signal: entry.signal,
        tenant_id: entry.scope.tenantId,
        items: entry.items,
        bytes: entry.bytes,
        batch_id: entry.batchId,
      },
      attempt: 0,
      priority: 0,
      addedAtMs: entry.receivedAtMs,
      finishedAtMs: entry.failedAtMs,
      reason: entry.reason,
    }));
  }

  private note(
    principal: Principal,
    { ip, id }: FastifyRequest,
    action: string,
    queue: QueueName,
    details: Record<string, unknown> = {},
  ) {
    const target = { kind: 'queue', id: queue };
    return this.audit.record({
      action,
      result: 'ok',
      principal,
      remoteAddress: ip,
      correlationId: id,
      target,
      details,
    });
  }
}
