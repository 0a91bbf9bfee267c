import type { QueryData } from './query-data.js';
import type { QueryProgram } from './query-program.js';
import { HISTOGRAM } from './telemetry-rows.js';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

export interface Question {
  name: string;
  /** What it should take at most, warm, p50. */
  aimMs?: number;
  /** Of the n-th run: another service, id or word each time, so that "warm" is not the answer to the same question. */
  path(run: number): string | Promise<string>;
}

const SERVICES = ['checkout', 'payment', 'catalog', 'search', 'orders'];
const pick = (list: string[], run: number) => list[run % list.length];
const METRICS = ['process.usage', 'http.server.requests', 'queue.requests'];
/** Words that a record in 2 million has: numbers of orders. */
const order = (run: number) => 123_457 + 7919 * run;
const PAGE = 1000;

/** The questions, about data that are there: what they need to know of it is asked first. */
export async function questionsAbout({ endMs }: QueryData, program: QueryProgram): Promise<Question[]> {
  // Nobody asks at full hours: both ends of a range lie amid its steps.
  const over = (lengthMs: number, run = 0) => {
    const to = endMs - 7 * MINUTE_MS - run * 1000;
    return `from=${to - lengthMs}&to=${to}`;
  };
  // As from=now-1h when data come in: nothing is newer than the range's end, and /services begins on full five minutes.
  const lastHour = (run: number) => `from=${endMs - HOUR_MS}&to=${endMs + 1 + run}`;
  const traces = await traceIds(program, endMs);
  const logs = `logs?${over(30 * DAY_MS)}`;
  const cursors = new Map<number, Promise<string>>();
  const page = async (number: number) => {
    if (!cursors.has(number)) cursors.set(number, cursorOf(program, logs, number));
    return `${logs}&cursor=${await cursors.get(number)}`;
  };
  const metric = (run: number) => `metrics/query?metric=${pick(METRICS, run)}`;
  const everyTrace = (run: number) =>
    `service=${pick(SERVICES, run)}&operation=list%20%2F${pick(SERVICES, run)}%2F%7Bid%7D&kind=server&status=ok&min_duration_ms=1&max_duration_ms=60000&attr.http.request.method=GET`;
  return [
    { name: 'services, the last hour', aimMs: 10, path: (run) => `services?${lastHour(run)}` },
    { name: 'services, 1 h, both ends amid five minutes', path: (run) => `services?${over(HOUR_MS, run)}` },
    {
      name: 'names of metrics, the last hour',
      aimMs: 10,
      path: (run) => `metrics?prefix=http&${lastHour(run)}`,
    },
    {
      name: 'names of metrics, 1 h, its end amid an hour',
      path: (run) => `metrics?prefix=http&${over(HOUR_MS, run)}`,
    },
    {
      name: '24 h of a metric by hour',
      aimMs: 50,
      path: (run) => `${metric(run)}&step=1h&${over(DAY_MS, run)}`,
    },
    { name: RAW, path: (run) => `${metric(run)}&step=59m&${over(DAY_MS, run)}` },
    {
      name: '24 h of a metric, by service',
      path: (run) => `${metric(run)}&group_by=service_name&step=1h&${over(DAY_MS, run)}`,
    },
    {
      name: 'p95 of a histogram, 30 days by day',
      path: (run) => `metrics/query?metric=${HISTOGRAM}&agg=p95&step=1d&${over(30 * DAY_MS, run)}`,
    },
    { name: 'a trace by its id', aimMs: 30, path: (run) => `traces/${pick(traces, run)}` },
    {
      name: 'traces by an attribute, 30 days',
      aimMs: 200,
      path: (run) => `traces?attr.user.id=user-${777 + run}&${over(30 * DAY_MS)}`,
    },
    {
      name: 'traces by all filters, 30 days',
      aimMs: 150,
      path: (run) => `traces?${everyTrace(run)}&${over(30 * DAY_MS, run)}`,
    },
    {
      name: 'the slowest traces of a service, 24 h',
      path: (run) => `traces?service=${pick(SERVICES, run)}&order=slowest&limit=20&${over(DAY_MS, run)}`,
    },
    {
      name: 'logs with a word that one record in 200,000 has, 30 days',
      aimMs: 50,
      path: (run) => `logs?q=corrupted&${over(30 * DAY_MS, run)}`,
    },
    {
      name: 'logs with a word that one record in 2 million has, 30 days',
      aimMs: 50,
      path: (run) => `logs?q=${order(run)}&${over(30 * DAY_MS)}`,
    },
    {
      name: 'logs by all filters, 30 days',
      aimMs: 150,
      path: (run) =>
        `logs?q=payment%20-timeout&service=${pick(SERVICES, run)}&min_severity=error&attr.http.request.method=GET&${over(30 * DAY_MS, run)}`,
    },
    { name: 'errors in the logs, 1 h', path: (run) => `logs?min_severity=error&${over(HOUR_MS, run)}` },
    { name: 'page 2 of logs, by cursor', path: () => page(2) },
    { name: `page ${PAGE} of logs, by cursor`, path: () => page(PAGE) },
    { name: 'service map, 1 h', path: (run) => `service-map?${over(HOUR_MS, run)}` },
  ];
}

export const RAW = '24 h of a metric by 59 minutes, so from raw';

/** Ids of traces all over the days. */
async function traceIds(program: QueryProgram, endMs: number): Promise<string[]> {
  const ids: string[] = [];
  for (let day = 1; day < 30; day += 2) {
    const to = endMs - day * DAY_MS;
    const { body } = await program.ask(`traces?limit=3&from=${to - 6 * HOUR_MS}&to=${to}`);
    ids.push(...(body.data as { trace_id: string }[]).map(({ trace_id }) => trace_id));
  }
  return ids;
}

const PAGE_ROWS = 100;
const MAX_PAGE_ROWS = 1000;

/** The cursor that page `page` begins at, reached in larger pages: a cursor does not depend on their size. */
async function cursorOf(program: QueryProgram, path: string, page: number): Promise<string> {
  let cursor = '';
  for (let left = (page - 1) * PAGE_ROWS; left > 0; ) {
    const limit = Math.min(left, MAX_PAGE_ROWS);
    const { body } = await program.ask(`${path}&limit=${limit}${cursor && `&cursor=${cursor}`}`);
    cursor = body.next_cursor as string;
    left -= limit;
  }
  return cursor;
}
