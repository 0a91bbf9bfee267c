import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import type { TimeRange } from '../http/time.js';
import {
  copiesOfLast,
  estimateTotal,
  extrapolate,
  type Page,
  type PageRequest,
  type Place,
  pageAt,
  placeOf,
} from './page.js';
import { Asking, Where } from './statement.js';
import { readInWindows, type Window, windowsOf } from './windows.js';

/** A list of rows in the order of their time, as one of the tables keeps them. */
export interface TimeOrderedQuestion<Row, Answer> {
  name: string;
  table: string;
  /** The table's primary key begins with (tenant_id, toStartOfFiveMinutes(timestamp)). */
  keyedBySteps: boolean;
  /** SELECT list. `time_unix_nano` and `row_hash` come by themselves. */
  columns: string;
  /** Everything that makes a row differ from another: columns, comma-separated. It breaks ties between rows of one nanosecond. */
  identity: string;
  order: 'asc' | 'desc';
  /** All that was asked, less page and time. */
  filters: unknown;
  restrict(where: Where): void;
  decode(row: Row): Answer;
}

export interface OrderedRow {
  time_unix_nano: string;
  row_hash: string;
}

/**
 * A page, searched in windows that grow until it is full, so that it costs the same at any depth. Its order is total: time, then a hash of the whole row, then (for exact copies of a row) their number, so that
 * pages by cursor show every row once even when many have the same nanosecond.
 *
 * The statement first finds the time at which the page ends, from the time column alone, and then reads and hashes only
 * the rows up to that time: on 1 M logs of an hour 100 rows cost 98 ms instead of 124 in one step, and the hash of a
 * row that is not shown is never computed.
 */
export async function readTimeOrdered<Row extends OrderedRow, Answer>(
  scope: Scope,
  clickhouse: ClickHouse,
  question: TimeOrderedQuestion<Row, Answer>,
  range: TimeRange,
  request: PageRequest,
  signal?: AbortSignal,
): Promise<Page<Answer>> {
  const filters = [question.filters, question.order];
  const place = placeOf(scope, question.name, filters, range, request, 'iu');
  const newestFirst = question.order === 'desc';
  const asking = new Asking(clickhouse, signal);

  const found = await readInWindows<Row>(
    windowsFor(question, place),
    place.limit + 1,
    async ({ range, isFirst }, before) => {
      const where = whereOf(scope, question, range);
      const start = isFirst ? {} : { cursor: undefined, offset: 0 };
      const part = { ...place, ...start, range, limit: place.limit - before.length };
      return asking.rows<Row>(pageStatement(question, where, part), where);
    },
  );
  const rows = found.rows.slice(0, place.limit);
  const data = rows.map((row) => question.decode(row));
  const meta = () => asking.cost.meta(found.partialReason);
  const isLast = found.rows.length <= place.limit && found.partialReason === undefined;
  if (isLast) return pageAt(place, data, 0, undefined, meta());

  const keys = rows.map((row) => `${row.time_unix_nano},${row.row_hash}`);
  const last = rows[rows.length - 1];
  const total =
    place.cursor?.total ??
    (await estimateTotal(
      (limit, maxSeconds, settings) => {
        const counted = whereOf(scope, question, place.range);
        return asking.rows(countStatement(question.table, counted, limit), counted, maxSeconds, settings);
      },
      extrapolate(place.offset + rows.length, place.range, BigInt(last.time_unix_nano), newestFirst),
    ));
  const end = { key: [last.time_unix_nano, last.row_hash], copies: copiesOfLast(keys, place.cursor) };
  return pageAt(place, data, total, end, meta());
}

/** Pages by number count from the beginning of the range, and without steps in its key a table is no faster in a shorter one. */
function windowsFor(question: TimeOrderedQuestion<never, unknown>, place: Place): Iterable<Window> {
  const { range, cursor } = place;
  const isCounted = cursor === undefined && place.offset > 0;
  if (isCounted || !question.keyedBySteps) return [{ range, isFirst: true }];
  return windowsOf(range, cursor && BigInt(cursor.key[0]), question.order === 'desc');
}

function whereOf(scope: Scope, question: TimeOrderedQuestion<never, unknown>, range: TimeRange): Where {
  const where = new Where(scope);
  if (question.keyedBySteps) where.withinSteps(range);
  else where.within(range);
  question.restrict(where);
  return where;
}

function countStatement(table: string, where: Where, limit: number): string {
  const matching = `SELECT 1 FROM ${table} WHERE ${where} LIMIT ${where.bind('UInt32', limit)}`;
  return `SELECT toString(count()) AS matches FROM (${matching})`;
}

/** SQL of what tells rows of the same nanosecond apart. */
export const rowHash = (identity: string) => `cityHash64(tuple(${identity}))`;

function pageStatement(question: TimeOrderedQuestion<never, unknown>, where: Where, place: Place): string {
  const { table, keyedBySteps, columns, identity } = question;
  const newestFirst = question.order === 'desc';
  const [direction, beyond, upTo, farthest] = newestFirst
    ? ['DESC', '<', '>=', 'min']
    : ['ASC', '>', '<=', 'max'];
  const steps = keyedBySteps ? `toStartOfFiveMinutes(timestamp) ${direction}, ` : '';
  const hash = rowHash(identity);
  const start = place.cursor && where.bindTime(BigInt(place.cursor.key[0]));
  const startHash = place.cursor && where.bind('UInt64', place.cursor.key[1]);
  const toEdge = where.bind('UInt32', place.limit + 1 + (place.cursor ? 0 : place.offset));
  // No row beyond the start: what is left can only be at the start itself; without a cursor there is none at all.
  const nowhere = where.bindTime(newestFirst ? place.range.toNs : place.range.fromNs - 1n);
  const edge = `ifNull(edge, ${start ?? nowhere})`;
  const beyondStart = start ? ` AND timestamp ${beyond} ${start}` : '';
  const atOrBeyondStart = start
    ? ` AND (timestamp ${beyond} ${start} OR (timestamp = ${start} AND ${hash} ${beyond}= ${startHash}))`
    : '';
  const edgeStep = keyedBySteps
    ? ` AND toStartOfFiveMinutes(timestamp) ${upTo} toStartOfFiveMinutes(${edge})`
    : '';
  return `WITH (
  SELECT ${farthest}(timestamp) FROM (
    SELECT timestamp FROM ${table} WHERE ${where}${beyondStart}
    ORDER BY ${steps}timestamp ${direction} LIMIT ${toEdge}
  ) HAVING count() > 0
) AS edge
SELECT toString(reinterpretAsUInt64(timestamp)) AS time_unix_nano, toString(${hash}) AS row_hash, ${columns}
FROM ${table} WHERE ${where}${atOrBeyondStart}${edgeStep} AND timestamp ${upTo} ${edge}
ORDER BY timestamp ${direction}, ${hash} ${direction}
LIMIT ${where.bind('UInt32', place.limit + 1)} OFFSET ${where.bind('UInt32', place.offset)}`;
}
