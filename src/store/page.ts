import { createHash } from 'node:crypto';
import type { ClickHouseSettings } from '@clickhouse/client';
import { z } from 'zod';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import type { TimeRange } from '../http/time.js';
import type { Meta } from './statement.js';

/**
 * Where the next page begins: the sort key of the last row given, and the time range as it was resolved for the first
 * page, so that `now` stands still while someone pages. A cursor is not signed: it holds no right, only a place, and the
 * tenant is in every WHERE. It is bound to its question, so that it cannot be used with other filters by mistake.
 */
export interface Cursor {
  /** Sort key of the last row given: decimal numbers and texts, as the question defines them. */
  key: string[];
  /** Rows already given that are equal to the last one in the whole sort key (copies of it). */
  copies: number;
  /** Page number that this cursor leads to. */
  page: number;
  /** Estimated rows of the whole answer, from the first page. */
  total: number;
  range: TimeRange;
}

const MAX_UNIX_NANO = 2n ** 63n - 1n;
const decimal = z
  .string()
  .regex(/^\d{1,19}$/)
  .transform(BigInt)
  .refine((ns) => ns <= MAX_UNIX_NANO);
const wire = z.tuple([
  z.string(),
  z.array(z.string()).max(5),
  z.int().min(0),
  z.int().min(1),
  z.int().min(0),
  decimal,
  decimal,
]);

/**
 * What a cursor belongs to.
 *
 * @param name of the question
 * @param filters all that was asked, less the page and the time range
 */
export function fingerprint(scope: Scope, name: string, filters: unknown): string {
  const text = JSON.stringify([name, scope.organizationId, scope.workspaceId, scope.tenantId, filters]);
  return createHash('sha256').update(text).digest('base64url').slice(0, 11);
}

export function encodeCursor(cursor: Cursor, belongsTo: string): string {
  const { key, copies, page, total, range } = cursor;
  const parts = [belongsTo, key, copies, page, total, String(range.fromNs), String(range.toNs)];
  return Buffer.from(JSON.stringify(parts)).toString('base64url');
}

/**
 * @param keyTypes one letter per part of the key: see `FITS`
 * @throws AppError INVALID_ARGUMENT for anything that `encodeCursor` did not make for this question
 */
export function decodeCursor(text: string, belongsTo: string, keyTypes: string): Cursor {
  const parsed = wire.safeParse(parseJson(Buffer.from(text, 'base64url').toString()));
  if (!parsed.success) throw badCursor('is not one that this API gave out');
  const [owner, key, copies, page, total, fromNs, toNs] = parsed.data;
  if (owner !== belongsTo)
    throw badCursor('belongs to another question; repeat the filters it was given for');
  const fits = key.length === keyTypes.length && key.every((part, i) => FITS[keyTypes[i]](part));
  if (!fits) throw badCursor('is not one that this API gave out');
  return { key, copies, page, total, range: { fromNs, toNs } };
}

/** What the engine can read as: i Int64, u UInt64, h trace id, s text. */
const FITS: Record<string, (part: string) => boolean> = {
  i: (part) => /^-?\d{1,19}$/.test(part) && BigInt.asIntN(64, BigInt(part)) === BigInt(part),
  u: (part) => /^\d{1,20}$/.test(part) && BigInt.asUintN(64, BigInt(part)) === BigInt(part),
  h: (part) => /^[0-9A-F]{32}$/.test(part),
  s: () => true,
};

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function badCursor(why: string): AppError {
  return new AppError('INVALID_ARGUMENT', `The cursor ${why}.`, {
    details: [
      {
        field: 'cursor',
        given: 'a cursor',
        allowed: 'next_cursor of the page before, with the same filters',
      },
    ],
  });
}

/** Which page is asked for: by number, or by the cursor that the page before gave. */
export interface PageRequest {
  page: number;
  limit: number;
  cursor?: string;
}

/** A page of a list, as every list route answers. */
export interface Page<T> {
  data: T[];
  page: number;
  limit: number;
  /** An estimate: see `estimateTotal`. */
  total_pages: number;
  /** For the next page; null on the last one. */
  next_cursor: string | null;
  meta: Meta;
}

/** The page being read: its place resolved, its owner known. */
export interface Place {
  range: TimeRange;
  cursor: Cursor | undefined;
  owner: string;
  page: number;
  limit: number;
  /** Rows to skip when pages are asked for by number. */
  offset: number;
}

/** What ends a page that has another one after it. */
export interface LastRow {
  key: string[];
  copies: number;
}

/** OFFSET reads everything before it again; a cursor does not. */
const MAX_OFFSET_ROWS = 100_000;
const COUNTED_ROWS = 100_000;
const COUNT_SECONDS = 0.5;
/** Counting looks at no more, whether they match or not: it took longer than the page itself (docs/decisions/questions.md). */
const COUNTABLE = { max_rows_to_read: '200000' } as const;

/**
 * @param name of the question and `filters`, all that was asked less page and time: what a cursor is bound to
 * @throws AppError INVALID_ARGUMENT for a cursor of another question, or a page number too deep to be paged by number
 */
export function placeOf(
  scope: Scope,
  name: string,
  filters: unknown,
  range: TimeRange,
  request: PageRequest,
  keyTypes: string,
): Place {
  const owner = fingerprint(scope, name, filters);
  const { limit } = request;
  if (request.cursor !== undefined) {
    const cursor = decodeCursor(request.cursor, owner, keyTypes);
    return { range: cursor.range, cursor, owner, page: cursor.page, limit, offset: cursor.copies };
  }
  const offset = (request.page - 1) * limit;
  if (offset + limit > MAX_OFFSET_ROWS) {
    throw new AppError(
      'INVALID_ARGUMENT',
      `Pages by number end at row ${MAX_OFFSET_ROWS}; go on with next_cursor.`,
      {
        details: [
          {
            field: 'page',
            given: String(request.page),
            allowed: `1 to ${Math.floor(MAX_OFFSET_ROWS / limit)}`,
          },
        ],
      },
    );
  }
  return { range, cursor: undefined, owner, page: request.page, limit, offset };
}

/** @param last of the rows given, when there are more after them */
export function pageAt<T>(
  place: Place,
  data: T[],
  total: number,
  last: LastRow | undefined,
  meta: Meta,
): Page<T> {
  const { page, limit, range } = place;
  // An estimate never contradicts what this page shows.
  const totalPages = last ? Math.max(page + 1, Math.ceil(total / limit)) : data.length > 0 ? page : page - 1;
  const next = last && encodeCursor({ ...last, page: page + 1, total, range }, place.owner);
  return { data, page, limit, total_pages: totalPages, next_cursor: next ?? null, meta };
}

/**
 * Roughly how many rows there are in all. Counted are up to 100,000 rows, for half a second at most, and where no more than
 * 200,000 have to be looked at; else the density of the page just read is taken for the whole range. Later pages repeat the first page's figure from their cursor.
 *
 * @param ask with a statement that answers one row {matches} and stops by itself at `LIMIT {limit}`; with `settings` of the
 *   engine, unless counting is the only way to know
 * @param extrapolated rows of the whole range, judged by the page
 */
export async function estimateTotal(
  ask: (limit: number, maxSeconds: number, settings: ClickHouseSettings) => Promise<{ matches: string }[]>,
  extrapolated: number,
): Promise<number> {
  try {
    const [{ matches }] = await ask(COUNTED_ROWS, COUNT_SECONDS, COUNTABLE);
    return Number(matches) < COUNTED_ROWS ? Number(matches) : Math.max(COUNTED_ROWS, extrapolated);
  } catch (error) {
    if (error instanceof AppError && error.code === 'QUERY_TOO_EXPENSIVE') return extrapolated;
    throw error;
  }
}

/**
 * Rows of the whole range if they lie as densely as those of one page.
 *
 * @param rows how many rows were passed from the range's beginning to `lastNs`, the end where reading began being
 *   `range.toNs` for newest first
 */
export function extrapolate(rows: number, range: TimeRange, lastNs: bigint, newestFirst: boolean): number {
  const passed = newestFirst ? range.toNs - lastNs : lastNs - range.fromNs + 1n;
  return Math.round((rows * Number(range.toNs - range.fromNs)) / Math.max(1, Number(passed)));
}

/** How many rows at the end of a page are equal to its last one in the sort key, earlier pages' copies included. */
export function copiesOfLast(keys: string[], cursor: Cursor | undefined): number {
  const last = keys[keys.length - 1];
  const first = keys.findLastIndex((key) => key !== last) + 1;
  const before = first === 0 && cursor && cursor.key.join() === last ? cursor.copies : 0;
  return keys.length - first + before;
}
