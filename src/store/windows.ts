import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import type { TimeRange } from '../http/time.js';
import { type Asking, STEP_NS, Where } from './statement.js';
import { nanosToIso } from './values.js';

/** A piece of a time range that is searched by one statement. */
export interface Window {
  range: TimeRange;
  /** A page begins here: the others lie wholly beyond its begin. */
  isFirst: boolean;
}

const FIRST_NS = 900_000_000_000n;
/** Where nothing was found: from 15 minutes to a day, then to all. A statement that finds nothing costs as much as reading hours. */
const GROWTH = 96n;
/** Where something was found: as long as the rest of the page takes at that density, and half as long again. */
const MARGIN = 1.5;

/**
 * The range in pieces, from the end where reading begins, the first 15 minutes long. A page that is soon full has read little; where nothing
 * matches, thirty days cost three statements; else a piece is as long as the rest of the page is likely to need. Told by `next` which
 * part of the page has been found so far.
 *
 * @param beginNs time of the row that the page begins after, within the first piece; undefined: the range's end
 */
export function* windowsOf(
  range: TimeRange,
  beginNs: bigint | undefined,
  newestFirst: boolean,
): Generator<Window, void, number | undefined> {
  let { fromNs, toNs } = range;
  if (beginNs !== undefined && beginNs >= fromNs && beginNs < toNs) {
    if (newestFirst) toNs = beginNs + 1n;
    else fromNs = beginNs;
  }
  let length = FIRST_NS;
  let searched = 0n;
  for (let isFirst = true; fromNs < toNs; isFirst = false) {
    // What is left is not worth another statement when it is not much longer.
    const isLast = toNs - fromNs <= 2n * length;
    const edge = isLast ? (newestFirst ? fromNs : toNs) : newestFirst ? toNs - length : fromNs + length;
    const found = yield { range: newestFirst ? { fromNs: edge, toNs } : { fromNs, toNs: edge }, isFirst };
    searched += newestFirst ? toNs - edge : edge - fromNs;
    if (newestFirst) toNs = edge;
    else fromNs = edge;
    length = found ? longEnough(searched, found) : length * GROWTH;
  }
}

function longEnough(searched: bigint, found: number): bigint {
  const length = BigInt(Math.round((Number(searched) * MARGIN * (1 - found)) / found));
  return length > FIRST_NS ? length : FIRST_NS;
}

/**
 * Asks window after window until there are enough rows.
 *
 * @param ask for the rows of a window that are not among those found, in their order, as many as are still wanted
 * @returns with `partialReason` what was found before a limit was hit; then there may be more
 * @throws what `ask` throws; QUERY_TOO_EXPENSIVE when nothing was found before
 */
export async function readInWindows<Row>(
  windows: Iterable<Window, void, number | undefined>,
  wanted: number,
  ask: (window: Window, found: readonly Row[]) => Promise<Row[]>,
): Promise<{ rows: Row[]; partialReason?: string }> {
  const rows: Row[] = [];
  const pieces = windows[Symbol.iterator]();
  for (let piece = pieces.next(); !piece.done; piece = pieces.next(rows.length / wanted)) {
    const window = piece.value;
    try {
      rows.push(...(await ask(window, rows)));
    } catch (error) {
      const isLimit = error instanceof AppError && error.code === 'QUERY_TOO_EXPENSIVE';
      if (!isLimit || rows.length === 0) throw error;
      const { fromNs, toNs } = window.range;
      const unread = `${nanosToIso(String(fromNs))} to ${nanosToIso(String(toNs))}`;
      return { rows, partialReason: `${error.message} Not searched: ${unread}; next_cursor goes on there.` };
    }
    if (rows.length >= wanted) break;
  }
  return { rows };
}

/** When the step began that this time is in. */
export const stepBegin = (unixNano: bigint): bigint => unixNano - (unixNano % STEP_NS);

/** The part of the range in which the trace has spans; undefined when the tenant has no such trace. */
export async function stepsOf(
  scope: Scope,
  asking: Asking,
  traceId: string,
  range: TimeRange,
): Promise<TimeRange | undefined> {
  const where = new Where(scope);
  const id = `toFixedString(unhex(${where.bind('String', traceId)}), 16)`;
  const [{ first, last, steps }] = await asking.rows<{ first: number; last: number; steps: string }>(
    `SELECT toUnixTimestamp(min(step)) AS first, toUnixTimestamp(max(step)) AS last, toString(count()) AS steps
FROM trace_steps WHERE tenant_key = ${where.tenantKey()} AND trace_id = ${id}`,
    where,
  );
  if (steps === '0') return undefined;
  const [fromNs, toNs] = [BigInt(first) * 1_000_000_000n, BigInt(last) * 1_000_000_000n + STEP_NS];
  return {
    fromNs: fromNs > range.fromNs ? fromNs : range.fromNs,
    toNs: toNs < range.toNs ? toNs : range.toNs,
  };
}
