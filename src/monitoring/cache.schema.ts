import { z } from 'zod';
import { AppError } from '../errors.js';
import { about, text } from '../http/request.schema.js';

const PATTERN = /^[\w./@=,+$#%~:*?-]{1,1000}$/;

export const cacheQuery = z.object({
  pattern: about(
    'Which answers of the tenant, all unless given; what stands before the first : is a prefix, * is any characters, ? one, and without either it is one key',
    text((given) => (PATTERN.test(given) ? given : undefined), 'such as metrics:*, logs:live:*, *'),
  ).optional(),
});

const answered = {
  l1_hits: z.int(),
  l2_hits: z.int(),
  misses: z.int().describe('computed, or joined while it was being computed'),
  stale: z.int().describe('just over, given because the source failed or was slow'),
  hit_rate: z.number().nullable().describe('hits of both tiers / all; null before the first'),
};
const latency = z.object({ count: z.int(), average_ms: z.number().nullable(), max_ms: z.number() });

/** What `GET /api/v1/cache` answers. */
export const cacheFigures = z.object({
  ...answered,
  l1: z.object({
    hits: z.int(),
    hit_rate: z.number().nullable(),
    entries: z.int(),
    bytes: z.int(),
    max_entries: z.int(),
    max_bytes: z.int(),
    evictions: z.int(),
  }),
  l2: z
    .object({
      up: z.boolean(),
      hits: z.int(),
      hit_rate: z.number().nullable().describe('of those that L1 did not have'),
      errors: z.int(),
      owed_invalidations: z.int().describe('that Redis has yet to be told'),
      latency,
    })
    .nullable()
    .describe('null without Redis'),
  hears_others: z.boolean().describe('invalidations of other instances are heard, where there are any'),
  prefixes: z.record(z.string(), z.object(answered)),
  computed: latency.extend({ failed: z.int() }),
  not_kept: z.object({ too_large: z.int(), not_serialisable: z.int(), outdated: z.int() }),
  invalidations: z.object({ own: z.int(), heard: z.int() }),
});
export type CacheFigures = z.output<typeof cacheFigures>;

export const cacheDropped = z.object({
  dropped: z.array(z.string()).describe('patterns and keys, with the tenant in its place'),
});

/** @throws AppError INVALID_ARGUMENT for a prefix whose keys belong to no tenant */
export function badPrefix(given: string, known: readonly string[]): AppError {
  const allowed = `a prefix of a tenant's keys, ${known.join(', ')}, or *`;
  return new AppError('INVALID_ARGUMENT', `pattern must begin with ${allowed}.`, {
    details: [{ field: 'pattern', given, allowed }],
  });
}
