import { AppError } from '../errors.js';
import type { TimeRange } from '../http/time.js';
import { nanosToIso } from './values.js';

/** A piece of a time range that is searched by one statement. */
export interface Window {
  range: TimeRange;
  /** A page begins here: the others lie wholly beyond its begin. */
  isFirst: boolean;
}

const FIRST_NS = 900_000_000_000n;
/** From 15 minutes to a day: a statement that finds nothing costs as much as reading hours. */
const GROWTH = 96n;

/**
 * The range in pieces, from the end where reading begins: 15 minutes, a day, and what is left. A page that is soon full has read
 * little, and where nothing matches, thirty days cost three statements.
 *
 * @param beginNs time of the row that the page begins after, within the first piece; undefined: the range's end
 */
export function* windowsOf(
  range: TimeRange,
  beginNs: bigint | undefined,
  newestFirst: boolean,
): Generator<Window> {
  let { fromNs, toNs } = range;
  if (beginNs !== undefined && beginNs >= fromNs && beginNs < toNs) {
    if (newestFirst) toNs = beginNs + 1n;
    else fromNs = beginNs;
  }
  let length = FIRST_NS;
  for (let isFirst = true; fromNs < toNs; isFirst = false) {
    // What is left is not worth another statement when it is not much longer.
    const isLast = toNs - fromNs <= 2n * length;
    const edge = isLast ? (newestFirst ? fromNs : toNs) : newestFirst ? toNs - length : fromNs + length;
    yield { range: newestFirst ? { fromNs: edge, toNs } : { fromNs, toNs: edge }, isFirst };
    if (newestFirst) toNs = edge;
    else fromNs = edge;
    length *= GROWTH;
  }
}

/**
 * Asks window after window until there are enough rows.
 *
 * @param ask for the rows of a window that are not among those found, in their order, as many as are still wanted
 * @returns with `partialReason` what was found before a limit was hit; then there may be more
 * @throws what `ask` throws; QUERY_TOO_EXPENSIVE when nothing was found before
 */
export async function readInWindows<Row>(
  windows: Iterable<Window>,
  wanted: number,
  ask: (window: Window, found: readonly Row[]) => Promise<Row[]>,
): Promise<{ rows: Row[]; partialReason?: string }> {
  const rows: Row[] = [];
  for (const window of windows) {
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
