import { Controller, Delete, Get, Inject, Query, Req } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { CacheService } from '../cache/cache.service.js';
import { keysNamed, TENANT_PREFIXES } from '../cache/cache-key.js';
import type { Answers, CacheReport, Latency } from '../cache/cache-stats.js';
import { AUDIT, type AuditTrail } from '../edge/audit.js';
import { CurrentPrincipal } from '../edge/current-scope.js';
import type { Principal } from '../edge/principal.js';
import { Requires } from '../edge/scope.guard.js';
import { ApiRoute } from '../http/api-route.js';
import { parseQuery, type RawQuery } from '../http/request.schema.js';
import { badPrefix, type CacheFigures, cacheDropped, cacheFigures, cacheQuery } from './cache.schema.js';

/** What the cache does, and dropping what it has of a tenant. */
@Requires('admin')
@Controller('api/v1/cache')
export class CacheController {
  constructor(
    @Inject(CacheService) private readonly cache: CacheService,
    @Inject(AUDIT) private readonly audit: AuditTrail,
  ) {}

  @ApiRoute({
    summary: "Read the cache's figures",
    description: 'Of the process that answers, since its start, all tenants together.',
    response: cacheFigures,
  })
  @Get()
  read(): CacheFigures {
    return figuresOf(this.cache.getStats());
  }

  /** The tenant's alone: its place in the pattern is filled by us. */
  @ApiRoute({
    summary: 'Drop cached answers of the tenant',
    description: 'On all instances. It is written to the audit log.',
    query: cacheQuery,
    response: cacheDropped,
  })
  @Delete()
  async drop(
    @CurrentPrincipal() principal: Principal,
    @Req() { ip, id }: FastifyRequest,
    @Query() raw: RawQuery,
  ): Promise<{ dropped: string[] }> {
    const { pattern = '*' } = parseQuery(cacheQuery, raw);
    const named = keysNamed(principal.scope, pattern);
    if (named.length === 0) throw badPrefix(pattern, TENANT_PREFIXES);
    for (const { key, text } of named) await (key ? this.cache.del(key) : this.cache.delPattern(text));
    const how = pattern === '*' ? 'tenant' : named[0].key ? 'key' : 'pattern';
    await this.audit.record({
      action: 'cache.invalidate',
      result: 'ok',
      principal,
      remoteAddress: ip,
      correlationId: id,
      target: { kind: 'cache', id: principal.scope.tenantId },
      details: { pattern, how },
    });
    return { dropped: named.map(({ text }) => text) };
  }
}

const share = (part: number, all: number) => (all === 0 ? null : Math.round((part / all) * 1e4) / 1e4);
const rounded = (ms: number) => Math.round(ms * 1e3) / 1e3;

function answered({ l1Hits, l2Hits, misses, stale }: Answers) {
  const hits = l1Hits + l2Hits;
  return { l1_hits: l1Hits, l2_hits: l2Hits, misses, stale, hit_rate: share(hits, hits + misses + stale) };
}

function latencyOf({ count, sumMs, maxMs }: Latency) {
  return { count, average_ms: count === 0 ? null : rounded(sumMs / count), max_ms: rounded(maxMs) };
}

export function figuresOf(report: CacheReport): CacheFigures {
  const { l1, l2, l1Hits, l2Hits, misses, stale, uncacheable, outdated } = report;
  const past1 = l2Hits + misses + stale;
  return {
    ...answered(report),
    l1: {
      hits: l1Hits,
      hit_rate: share(l1Hits, l1Hits + past1),
      entries: l1.entries,
      bytes: l1.bytes,
      max_entries: l1.maxEntries,
      max_bytes: l1.maxBytes,
      evictions: l1.evictions,
    },
    l2: l2
      ? {
          up: l2.isUp,
          hits: l2Hits,
          hit_rate: share(l2Hits, past1),
          errors: l2.errors,
          owed_invalidations: l2.owedInvalidations,
          latency: latencyOf(report.l2Latency),
        }
      : null,
    hears_others: report.isListening,
    prefixes: Object.fromEntries(
      Object.entries(report.prefixes).map(([prefix, given]) => [prefix, answered(given)]),
    ),
    computed: { ...latencyOf(report.computed), failed: report.computed.failed },
    not_kept: { ...uncacheable, outdated },
    invalidations: report.invalidations,
  };
}
