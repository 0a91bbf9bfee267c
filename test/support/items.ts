import { randomBytes } from 'node:crypto';
import type { Signal } from '../../src/signal.js';
import type { Item } from './otlp-client.js';

/** Items of the three signals as small as they can be, each with the marker by which it is found again. */

export function nowNs(offsetMs = 0): string {
  return `${BigInt(Date.now() + offsetMs) * 1_000_000n}`;
}

export function attribute(key: string, value: string): Item {
  return { key, value: { stringValue: value } };
}

export function span(marker: string, more: Item = {}): Item {
  return {
    traceId: randomBytes(16).toString('hex'),
    spanId: randomBytes(8).toString('hex'),
    name: 'test',
    kind: 1,
    startTimeUnixNano: nowNs(),
    endTimeUnixNano: nowNs(1),
    attributes: [attribute('test.marker', marker)],
    ...more,
  };
}

export function logRecord(marker: string, more: Item = {}): Item {
  return {
    timeUnixNano: nowNs(),
    body: { stringValue: 'a line' },
    attributes: [attribute('test.marker', marker)],
    ...more,
  };
}

export function point(marker: string, more: Item = {}): Item {
  return { timeUnixNano: nowNs(), asDouble: 1, attributes: [attribute('test.marker', marker)], ...more };
}

export const ITEMS: Readonly<Record<Signal, (marker: string, more?: Item) => Item>> = {
  traces: span,
  logs: logRecord,
  metrics: point,
};

/** The Export*ServiceRequest around items of one signal. */
export function requestOf(signal: Signal, items: Item[], service = 'test-service'): Item {
  const resource = { attributes: [attribute('service.name', service)] };
  if (signal === 'traces') return { resourceSpans: [{ resource, scopeSpans: [{ spans: items }] }] };
  if (signal === 'logs') return { resourceLogs: [{ resource, scopeLogs: [{ logRecords: items }] }] };
  const metrics = [{ name: 'test.metric', gauge: { dataPoints: items } }];
  return { resourceMetrics: [{ resource, scopeMetrics: [{ metrics }] }] };
}
