import type { ServerUnderTest } from './children.js';
import { sleep } from './process-stats.js';

type Signal = 'traces' | 'logs' | 'metrics';
const POLL_MS = 15;
const EVERY_MS = 250;

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
      name: 'probe',
      startTimeUnixNano: nanos(nowMs),
      endTimeUnixNano: nanos(nowMs),
    };
    return {
      body: { resourceSpans: [{ resource, scopeSpans: [{ spans: [span] }] }] },
      question: `traces/${id}?from=now-5m`,
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
      question: `logs?trace_id=${id}&service=freshness-probe&from=now-5m`,
    };
  }
  const attributes = [{ key: 'probe', value: { stringValue: id } }];
  const point = { timeUnixNano: nanos(nowMs), asDouble: 1, attributes };
  const metric = { name: 'freshness.probe', gauge: { dataPoints: [point] } };
  return {
    body: { resourceMetrics: [{ resource, scopeMetrics: [{ metrics: [metric] }] }] },
    question: `metrics/points?metric=freshness.probe&filter.probe=${id}&from=now-5m`,
  };
}

async function isVisible(url: string): Promise<boolean> {
  const answer = await fetch(url);
  const { data, spans } = (await answer.json()) as { data?: unknown[]; spans?: unknown[] };
  return answer.ok && ((data?.length ?? 0) > 0 || (spans?.length ?? 0) > 0 || /traces\//.test(url));
}

async function one(server: ServerUnderTest, signal: Signal, index: number): Promise<number> {
  const { body, question } = probe(signal, index);
  const answer = await fetch(`${server.otlp}/v1/${signal}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`probe refused: ${answer.status} ${await answer.text()}`);
  const acknowledgedAt = performance.now();
  while (!(await isVisible(`${server.api}/api/v1/${question}`))) await sleep(POLL_MS);
  return performance.now() - acknowledgedAt;
}

/** From acknowledgement to visible by the query API, ms, of one small request every quarter of a second. */
export async function freshness(server: ServerUnderTest, signal: Signal, seconds: number): Promise<number[]> {
  const times: Promise<number>[] = [];
  const count = Math.floor((seconds * 1000) / EVERY_MS) - 4;
  for (let index = 0; index < count; index++) {
    times.push(one(server, signal, index));
    await sleep(EVERY_MS);
  }
  return Promise.all(times);
}
