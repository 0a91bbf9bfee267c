import type { BlockList } from 'node:net';
import { Controller, Get, Headers, Inject, Query, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { ClickHouse } from '../connections/clickhouse.js';
import { Credentials } from '../edge/credentials.js';
import { CurrentScope } from '../edge/current-scope.js';
import { senderOf, TRUSTED_PROXIES } from '../edge/remote-address.js';
import { assertPermission, Requires } from '../edge/scope.guard.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import { ApiRoute } from '../http/api-route.js';
import { EventStream } from '../http/event-stream.js';
import { parseQuery, type RawQuery } from '../http/request.schema.js';
import { resolveRange, type TimeExpression } from '../http/time.js';
import { LOGGER } from '../log.js';
import { LogTail, MAX_BEHIND_SECONDS } from '../store/log-tail.js';
import { LogTails, type OpenTail } from './log-tails.js';
import { questionOf, RECORD_PREFIXES, tailQuery } from './logs.schema.js';
import { followTail } from './tail.js';

/** A tail begins with the records of so long ago: those under way when it is opened are later than their own time. */
const BEGINS_BEFORE_MS = 10_000;
const NS_PER_MS = 1_000_000n;

@Requires('read')
@Controller('api/v1/logs')
export class TailController {
  constructor(
    @Inject(ClickHouse) private readonly clickhouse: ClickHouse,
    @Inject(Credentials) private readonly credentials: Credentials,
    @Inject(TRUSTED_PROXIES) private readonly proxies: BlockList | undefined,
    @Inject(LogTails) private readonly tails: LogTails,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  /** Goes on until the caller goes away, its credential is no longer good, or the server stops. */
  @ApiRoute({
    summary: 'Follow the log as it comes',
    description:
      'Server-sent events: each record is a message; `gap` tells what was left out, `end` why the stream ends. `Last-Event-ID` goes on where a stream broke off.',
    query: tailQuery,
    attributes: RECORD_PREFIXES,
    contentType: 'text/event-stream',
  })
  @Get('tail')
  async tail(
    @CurrentScope() scope: Scope,
    @Query() raw: RawQuery,
    @Headers('last-event-id') lastEventId: string | undefined,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const { from, ...query } = parseQuery(tailQuery, raw, RECORD_PREFIXES);
    const question = questionOf(query);
    const fromNs = beginOf(from, Date.now());
    const { id, signal } = this.tails.enter(scope.tenantId);
    const asked = { id, tenantId: scope.tenantId, question: JSON.stringify(question) };
    const { open, gap } = this.resume(
      lastEventId,
      asked,
      (beginNs) => new LogTail(scope, this.clickhouse, question, beginNs ?? fromNs),
    );
    const stream = new EventStream(reply);
    try {
      if (gap) stream.send('gap', { reason: gap });
      await followTail(open, stream, signal, () => this.assertStillAllowed(request, scope), this.log);
    } finally {
      this.tails.leave(id, open);
      stream.close();
    }
  }

  /** The tail that broke off, or a new one from the last record that its caller got on. */
  private resume(
    lastEventId: string | undefined,
    asked: Omit<OpenTail, 'tail'>,
    begin: (fromNs: bigint | undefined) => LogTail,
  ): { open: OpenTail; gap?: string } {
    const [, id, sequence, timeNs] = EVENT_ID.exec(lastEventId ?? '') ?? [];
    if (id === undefined) return { open: { ...asked, tail: begin(undefined) } };
    const kept = this.tails.takeBack(id, asked.tenantId, asked.question);
    if (kept) {
      const isWhole = kept.rewind(Number(sequence));
      return {
        open: { ...asked, tail: kept },
        gap: isWhole ? undefined : 'Some records were on their way for too long.',
      };
    }
    const tail = begin(BigInt.asUintN(63, BigInt(timeNs) + 1n));
    return { open: { ...asked, tail }, gap: 'Records that came late meanwhile may be missing.' };
  }

  /** @throws AppError when the credential is no longer good for this */
  private async assertStillAllowed(request: FastifyRequest, scope: Scope): Promise<void> {
    const principal = await this.credentials.resolve({
      headers: request.headers,
      remoteAddress: senderOf(request, this.proxies),
      method: request.method,
    });
    assertPermission(principal.permissions, 'read');
    if (principal.scope.tenantId !== scope.tenantId)
      throw new AppError('PERMISSION_DENIED', 'The credential acts for another tenant now.');
  }
}

/** `<tail>.<sequence of the record>.<its time in Unix nanoseconds>`. */
const EVENT_ID = /^([\w-]{12})\.(\d{1,15})\.(\d{1,19})$/;

/** @throws AppError INVALID_ARGUMENT when it lies too far back */
function beginOf(from: TimeExpression | undefined, nowMs: number): bigint {
  if (from === undefined) return BigInt(nowMs - BEGINS_BEFORE_MS) * NS_PER_MS;
  const { fromNs } = resolveRange(from, { unixNano: BigInt(nowMs + 1) * NS_PER_MS }, nowMs);
  const oldestMs = nowMs - MAX_BEHIND_SECONDS * 1000;
  if (fromNs >= BigInt(oldestMs) * NS_PER_MS) return fromNs;
  throw new AppError('INVALID_ARGUMENT', 'A tail begins an hour ago at most; older records are in /logs.', {
    details: [
      {
        field: 'from',
        given: String(fromNs / NS_PER_MS),
        allowed: `${oldestMs} (Unix milliseconds) or later`,
      },
    ],
  });
}
