import type { TimeRange } from '../http/time.js';

/** Where an answer can come from, the finest first. */
export type Source = 'raw' | 'metrics_hourly' | 'metrics_daily';

/** A half-open stretch of time of one source, in nanoseconds since 1970. */
export interface Segment extends TimeRange {
  source: Source;
}

/** Which hours and days of a tenant the rollups can answer for; all times in Unix milliseconds. */
export interface RollupState {
  /** The watermarks: hours, and days, before them are rolled up, but for the stale ones. 0: none is. */
  hourlyUntilMs: number;
  dailyUntilMs: number;
  /** Hours and days (their first millisecond) that rows came for since they were rolled up, or that wait for it. */
  staleHours: ReadonlySet<number>;
  staleDays: ReadonlySet<number>;
  /** Raw points, and rows of hours and of days, from before are gone, wholly or in part. */
  rawFromMs: number;
  hourlyFromMs: number;
  dailyFromMs: number;
}

/** What a question needs of its source. */
export interface Need {
  stepMs: number;
  /** False for what only single points tell, such as percentiles of gauges. */
  canBeRolled: boolean;
  /** How far before a stretch of time raw points are looked at. */
  lookBackMs: number;
}

export interface Plan {
  /** Ascending, without gaps or overlaps, together the range. */
  segments: Segment[];
  /** Stretches whose raw points are needed and gone: where there were any, the answer is partial. */
  gone: TimeRange[];
}

export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;
const NS_PER_MS = 1_000_000n;
/** Each raw segment reads a stretch of its own; where rows came late for so many hours, one long stretch costs less. */
const MAX_SEGMENTS = 64;

/**
 * The coarsest sources that together answer exactly: days where a step is made of whole days, else hours where it is made of whole hours,
 * raw points for what is left: the range's ragged edges, what is not rolled up yet, and hours that late rows came for.
 *
 * Hours that late rows came for are answered by their rollup all the same when the raw points are gone, and said to be partial.
 */
export function planSegments(range: TimeRange, need: Need, state: RollupState): Plan {
  const segments = need.canBeRolled && need.stepMs % HOUR_MS === 0 ? rolledSegments(range, need, state) : [];
  const plan = segments.length > 0 ? segments : [{ source: 'raw' as const, ...range }];
  return { segments: plan, gone: goneStretches(plan, need, state) };
}

/** The coarsest source of a plan, which is what an answer says of itself. */
export function coarsest(sources: readonly Source[]): Source {
  if (sources.includes('metrics_daily')) return 'metrics_daily';
  return sources.includes('metrics_hourly') ? 'metrics_hourly' : 'raw';
}

function rolledSegments(range: TimeRange, need: Need, state: RollupState): Segment[] {
  const segments: Segment[] = [];
  const fromMs = Number((range.fromNs + NS_PER_MS - 1n) / NS_PER_MS);
  const toMs = Number(range.toNs / NS_PER_MS);
  const first = Math.ceil(fromMs / HOUR_MS) * HOUR_MS;
  const end = Math.floor(toMs / HOUR_MS) * HOUR_MS;
  if (first >= end) return [];
  const add = (source: Source, fromNs: bigint, toNs: bigint) => {
    const last = segments[segments.length - 1];
    if (fromNs >= toNs) return;
    if (last?.source === source) last.toNs = toNs;
    else segments.push({ source, fromNs, toNs });
  };
  const ns = (ms: number) => BigInt(ms) * NS_PER_MS;
  add('raw', range.fromNs, ns(first));
  for (let hour = first; hour < end; ) {
    const isDay = need.stepMs % DAY_MS === 0 && isWholeDay(hour, end, state);
    const next = hour + (isDay ? DAY_MS : HOUR_MS);
    add(isDay ? 'metrics_daily' : isRolled(hour, state) ? 'metrics_hourly' : 'raw', ns(hour), ns(next));
    hour = next;
  }
  add('raw', ns(end), range.toNs);
  return segments.length <= MAX_SEGMENTS ? segments : joinRaw(segments);
}

function isWholeDay(hour: number, end: number, state: RollupState): boolean {
  const isInside = hour % DAY_MS === 0 && hour + DAY_MS <= Math.min(end, state.dailyUntilMs);
  return isInside && hour >= state.dailyFromMs && !state.staleDays.has(hour);
}

function isRolled(hour: number, state: RollupState): boolean {
  const isThere = hour + HOUR_MS <= state.hourlyUntilMs && hour >= state.hourlyFromMs;
  return isThere && (!state.staleHours.has(hour) || hour < state.rawFromMs);
}

/** One raw segment from the first to the last of them that lie amid rollups. */
function joinRaw(segments: Segment[]): Segment[] {
  const isRaw = ({ source }: Segment) => source === 'raw';
  const first = segments.findIndex((segment, at) => at > 0 && isRaw(segment));
  const last = segments.findLastIndex(isRaw);
  const joined: Segment = {
    source: 'raw',
    fromNs: segments[first].fromNs,
    toNs: segments[last].toNs,
  };
  return [...segments.slice(0, first), joined, ...segments.slice(last + 1)];
}

function goneStretches(segments: readonly Segment[], need: Need, state: RollupState): TimeRange[] {
  const rawFromNs = BigInt(state.rawFromMs) * NS_PER_MS;
  const lookBackNs = BigInt(need.lookBackMs) * NS_PER_MS;
  const gone: TimeRange[] = [];
  for (const { source, fromNs, toNs } of segments) {
    if (source === 'raw' && fromNs - lookBackNs < rawFromNs) {
      gone.push({ fromNs: fromNs - lookBackNs, toNs: toNs < rawFromNs ? toNs : rawFromNs });
    } else if (source === 'metrics_hourly') {
      for (const hour of state.staleHours) {
        const hourNs = BigInt(hour) * NS_PER_MS;
        if (hourNs >= fromNs && hourNs < toNs)
          gone.push({ fromNs: hourNs, toNs: hourNs + BigInt(HOUR_MS) * NS_PER_MS });
      }
    }
  }
  return gone;
}
