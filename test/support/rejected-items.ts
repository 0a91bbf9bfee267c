import type { Signal } from '../../src/signal.js';
import { nowNs } from './items.js';
import type { Item } from './otlp-client.js';

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
export const MAX_UINT64 = '18446744073709551615';

/** What is changed in a good item so that it is rejected, and what the client is told. */
interface RejectedItem {
  what: string;
  signal: Signal;
  change: Item;
  message: RegExp;
}

const badTime = { message: /times must be within \d{4}-\d\d-\d\dT.* to \d{4}-/ };
/** Every way in which one item is rejected and the others of its body are not. */
export const REJECTED_ITEMS: RejectedItem[] = [
  ...['', 'ab', '00112233445566778899aabbccddee', '00'.repeat(17), '00'.repeat(16)].map((traceId) => ({
    what: `a span with trace id "${traceId}"`,
    ...{ signal: 'traces' as const, change: { traceId }, message: /trace_id must be 16 bytes/ },
  })),
  ...['', '0011', '00'.repeat(9), '00'.repeat(8)].map((spanId) => ({
    what: `a span with span id "${spanId}"`,
    ...{ signal: 'traces' as const, change: { spanId }, message: /span_id must be 8 bytes/ },
  })),
  {
    what: 'a span with a parent id of 7 bytes',
    ...{
      signal: 'traces',
      change: { parentSpanId: '00112233445566' },
      message: /parent_span_id must be 8 bytes/,
    },
  },
  {
    what: 'a span with a link to a short trace id',
    ...{ signal: 'traces', message: /ids of span links/ },
    change: { links: [{ traceId: 'abcd', spanId: '0011223344556677' }] },
  },
  {
    what: 'a log record with a short trace id',
    signal: 'logs',
    change: { traceId: 'abcd' },
    message: /trace_id/,
  },
  {
    what: 'a log record with a short span id',
    signal: 'logs',
    change: { spanId: 'abcd' },
    message: /span_id/,
  },
  {
    what: 'a point with an exemplar of a short span id',
    ...{ signal: 'metrics', change: { exemplars: [{ timeUnixNano: '1', asDouble: 1, spanId: 'ab' }] } },
    message: /ids of exemplars/,
  },
  { what: 'a span at time zero', signal: 'traces', change: { startTimeUnixNano: '0' }, ...badTime },
  { what: 'a point at time zero', signal: 'metrics', change: { timeUnixNano: '0' }, ...badTime },
  ...(['traces', 'logs', 'metrics'] as const).flatMap((signal) => {
    const field = signal === 'traces' ? 'startTimeUnixNano' : 'timeUnixNano';
    const at = (what: string, time: string) => ({
      what: `${signal} ${what}`,
      signal,
      change: { [field]: time },
      ...badTime,
    });
    return [
      at('one nanosecond after 1970', '1'),
      at('a day before the retention', nowNs(-31 * DAY_MS)),
      at('two hours ahead', nowNs(2 * HOUR_MS)),
      at('in the year 2500', '16725225600000000000'),
      at('at the last nanosecond of 64 bits', MAX_UINT64),
      at('at the sign bit', '9223372036854775808'),
    ];
  }),
];
