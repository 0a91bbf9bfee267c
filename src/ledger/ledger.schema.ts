import { z } from 'zod';
import { about, oneOf, timeFields } from '../http/request.schema.js';
import type { Meta } from '../store/statement.js';
import type { SignalBalance } from './ledger-balance.js';

export const ledgerQuery = z.object({
  ...timeFields,
  signal: about('Of one signal alone, all unless given', oneOf('traces', 'logs', 'metrics')).optional(),
});

const time = z.string().meta({ format: 'date-time' });
const signalBalance = z.object({
  signal: z.enum(['traces', 'logs', 'metrics']),
  received: z.int().describe('acknowledged, the rejected ones among them'),
  stored: z.int().describe('in the store and not expired'),
  rejected: z.array(z.object({ reason: z.string(), items: z.int() })).describe('by partial success'),
  waiting: z.int().describe('on its way to the store'),
  failed: z.int().describe('could not be stored, kept to be tried again or dropped by hand'),
  expired: z.int().describe('was stored until its retention ended'),
  dropped: z.int().describe('given up by hand'),
  oldest_waiting_ms: z.number().nullable().describe('age of the oldest that waits; null: none does'),
  balanced: z.boolean(),
  difference: z.int().describe('received less all others: items that were lost or counted wrong'),
}) satisfies z.ZodType<SignalBalance>;

/** What `GET /api/v1/ledger` answers. */
export const ledgerAnswer = z.object({
  from: time,
  to: time,
  balanced: z.boolean().describe('nothing is missing'),
  data: z.array(signalBalance).describe('one for each signal of which something arrived'),
  meta: z.object({
    source: z.enum(['raw', 'postgresql']),
    cache: z.enum(['miss', 'L1', 'L2', 'stale']),
    rows_read: z.int(),
    bytes_read: z.int(),
    elapsed_ms: z.number(),
    partial: z.literal(true).optional(),
  }) satisfies z.ZodType<Meta>,
});
