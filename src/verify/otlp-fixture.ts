import { metricsOf } from './otlp-metrics-fixture.js';
import type { Run } from './otlp-run.js';
import {
  ALL_ATTRIBUTES,
  AWKWARD_TEXT,
  BEYOND_DOUBLE,
  BODIES,
  kv,
  type OtlpObject,
  SCHEMA_URL,
  UINT32_MAX,
  UINT64_MAX,
} from './otlp-values.js';

/** The requests that `verify-otlp` sends: between them they hold every OTLP field, with values at the edge of its type. */
export interface Fixture {
  traces: OtlpObject;
  logs: OtlpObject;
  metrics: OtlpObject;
}

export function fixtureOf(run: Run): Fixture {
  return { traces: traces(run), logs: logs(run), metrics: metrics(run) };
}

function resource(run: Run): OtlpObject {
  return {
    attributes: [kv('service.name', { stringValue: run.service }), ...ALL_ATTRIBUTES],
    droppedAttributesCount: UINT32_MAX,
  };
}

const SCOPE: OtlpObject = {
  name: 'verify-otlp',
  version: '1.0-β',
  attributes: ALL_ATTRIBUTES,
  droppedAttributesCount: 7,
};

/** Wraps items twice: with everything known about where they come from, and with nothing. */
function envelopes(
  run: Run,
  signal: string,
  items: string,
  full: OtlpObject[],
  bare: OtlpObject[],
): OtlpObject {
  const described = {
    resource: resource(run),
    [`scope${signal}`]: [
      { scope: SCOPE, [items]: full, schemaUrl: `${SCHEMA_URL}?scope` },
      { scope: { name: 'second scope' }, [items]: [] },
    ],
    schemaUrl: SCHEMA_URL,
  };
  return { [`resource${signal}`]: [described, { [`scope${signal}`]: [{ [items]: bare }] }] };
}

function traces(run: Run): OtlpObject {
  const ids = (index: number) => ({ traceId: run.traceId, spanId: run.spanId(index) });
  const full: OtlpObject = {
    ...ids(0),
    parentSpanId: run.spanId(99),
    traceState: 'vendor=t61rcWkgMzE,other=00f067aa0ba902b7',
    flags: UINT32_MAX,
    name: AWKWARD_TEXT,
    kind: 2,
    startTimeUnixNano: run.nextTime(),
    endTimeUnixNano: UINT64_MAX,
    attributes: ALL_ATTRIBUTES,
    droppedAttributesCount: 1,
    events: [
      {
        timeUnixNano: UINT64_MAX,
        name: 'event',
        attributes: ALL_ATTRIBUTES,
        droppedAttributesCount: UINT32_MAX,
      },
      { timeUnixNano: BEYOND_DOUBLE },
      {},
    ],
    droppedEventsCount: 2,
    links: [
      {
        traceId: run.traceId,
        spanId: run.spanId(98),
        traceState: 'link=1',
        attributes: ALL_ATTRIBUTES,
        droppedAttributesCount: 3,
        flags: 769,
      },
      { traceId: run.traceId, spanId: run.spanId(97) },
    ],
    droppedLinksCount: UINT32_MAX,
    status: { message: 'broken "badly"', code: 2 },
  };
  const kinds = [0, 1, 2, 3, 4, 5].map((kind, index) => {
    const startTimeUnixNano = run.nextTime();
    const endTimeUnixNano = String(BigInt(startTimeUnixNano) + 1n);
    return {
      ...ids(index + 1),
      name: 'kind',
      kind,
      startTimeUnixNano,
      endTimeUnixNano,
      status: { code: kind % 3 },
    };
  });
  const bare = { ...ids(50), startTimeUnixNano: run.nextTime() };
  return envelopes(run, 'Spans', 'spans', [full, ...kinds], [bare]);
}

function logs(run: Run): OtlpObject {
  const full: OtlpObject[] = BODIES.map((body, index) => ({
    timeUnixNano: run.nextTime(),
    observedTimeUnixNano: index === 0 ? UINT64_MAX : BEYOND_DOUBLE,
    severityNumber: index === 0 ? 24 : index,
    severityText: index === 0 ? 'FATAL4' : 'öwn level',
    body,
    attributes: index === 0 ? ALL_ATTRIBUTES : [],
    droppedAttributesCount: index === 0 ? UINT32_MAX : 0,
    flags: index === 0 ? UINT32_MAX : 1,
    traceId: run.traceId,
    spanId: run.spanId(index),
    eventName: index === 0 ? 'event.näme' : '',
  }));
  const withoutIds = { timeUnixNano: run.nextTime() };
  const bare: OtlpObject[] = [
    { timeUnixNano: run.nextTime(), traceId: run.otherTraceId },
    { observedTimeUnixNano: run.nextTime(), traceId: run.otherTraceId },
    { traceId: run.otherTraceId },
  ];
  return envelopes(run, 'Logs', 'logRecords', [...full, withoutIds], bare);
}

function metrics(run: Run): OtlpObject {
  const { described, bare } = metricsOf(run);
  return envelopes(run, 'Metrics', 'metrics', described, bare);
}
