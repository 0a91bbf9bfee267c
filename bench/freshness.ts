import type { ServerUnderTest } from './children.js';
import { sleep } from './process-stats.js';

type Signal = 'traces' | 'logs' | 'metrics';
/**
 * How closely it looks. The questions run on the machine that is measured: asked every few milliseconds about ids that no
 * index finds, they alone would fill a core. These name a service or a metric, which the sort key finds.
 */
const POLL_MS = 50;

const nanos = (ms: number) => `${Math.floor(ms)}000000`;

/** One small request with a marker of its own, as OTLP/JSON, and the question that finds it. */
function probe(signal: Signal, index: number): { body: object; question: string } {
  const nowMs = Date.now();
  const id = `${nowMs.toString(16)}${index.toString(16)}`.padStart(32, '0');
  const resource = { attributes: [{ key: 'service.name', value: { stringValue: 'freshness-probe' } }] };
  if (signal === 'traces') {
    const span = {
      traceId: id,
      spanId: id.slice(16),
      name: id,
      startTimeUnixNano: nanos(nowMs),
      endTimeUnixNano: nanos(nowMs),
    };
    return {
      body: { resourceSpans: [{ resource, scopeSpans: [{ spans: [span] }] }] },
      question: `traces?service=freshness-probe&operation=${id}&from=now-2m`,
    };
  }
  if (signal === 'logs') {
    const record = {
      traceId: id,
      spanId: id.slice(16),
      timeUnixNano: nanos(nowMs),
      body: { stringValue: 'probe' },
    };
    return {
      body: { resourceLogs: [{ resource, scopeLogs: [{ logRecords: [record] }] }] },
      question: `logs?trace_id=${id}&service=freshness-probe&from=now-2m`,
    };
  }
  const attributes = [{ key: 'probe', value: { stringValue: id } }];
  const point = { timeUnixNano: nanos(nowMs), asDouble: 1, attributes };
  const metric = { name: 'freshness.probe', gauge: { dataPoints: [point] } };
  return {
    body: { resourceMetrics: [{ resource, scopeMetrics: [{ metrics: [metric] }] }] },
    question: `metrics/points?metric=freshness.probe&filter.probe=${id}&from=now-2m`,
  };
}

async function isVisible(url: string, headers: Record<string, string>): Promise<boolean> {
  const answer = await fetch(url, { headers });
  const { data } = (await answer.json()) as { data?: unknown[] };
  return (data?.length ?? 0) > 0;
}

async function one(server: ServerUnderTest, signal: Signal, index: number): Promise<number> {
  const { body, question } = probe(signal, index);
  const authorization = `Bearer ${server.key}`;
  const answer = await fetch(`${server.otlp}/v1/${signal}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`probe refused: ${answer.status} ${await answer.text()}`);
  const acknowledgedAt = performance.now();
  while (!(await isVisible(`${server.api}/api/v1/${question}`, { authorization }))) await sleep(POLL_MS);
  return performance.now() - acknowledgedAt;
}

/** From acknowledgement to visible by the query API, ms, of small requests sent one after the other. */
export async function freshness(server: ServerUnderTest, signal: Signal, seconds: number): Promise<number[]> {
  const times: number[] = [];
  const until = performance.now() + seconds * 1000 - 1000;
  for (let index = 0; performance.now() < until; index++) {
    times.push(await one(server, signal, index));
    await sleep(POLL_MS);
  }
  return times;
}
