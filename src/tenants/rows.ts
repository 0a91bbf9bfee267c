import { createParamDecorator, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { DataSource, type EntityManager } from 'typeorm';
import { AUDIT, type AuditEvent, type AuditTrail } from '../edge/audit.js';
import type { ScopedRequest } from '../edge/current-scope.js';
import { IDENTITIES, type Identities, type Principal } from '../edge/principal.js';
import type { Scope } from '../edge/scope.js';
import { AppError, type ErrorCode } from '../errors.js';
import type { TimeRange } from '../http/time.js';
import { type Page, type PageRequest, pageAt, placeOf } from '../store/page.js';

/** Who asks for a change, and from where: what the record of it says. */
export interface Doing {
  principal: Principal;
  remoteAddress: string | undefined;
  correlationId: string;
}

/** Controller parameter: who acts, from where, under which correlation id. */
export const CurrentDoing = createParamDecorator((_: unknown, context: ExecutionContext): Doing => {
  const request = context.switchToHttp().getRequest<FastifyRequest & ScopedRequest>();
  const { principal, ip, id } = request;
  if (!principal) throw new AppError('INTERNAL', 'A route asked who acts but is not behind the scope guard.');
  return { principal, remoteAddress: ip, correlationId: id };
});

/** What of an event a change says itself; the rest comes from `Doing`. */
type Entry = Pick<AuditEvent, 'action' | 'details'> &
  Required<Pick<AuditEvent, 'organizationId' | 'tenantId' | 'target'>>;
export type Note = (entry: Entry) => Promise<void>;

/** Deadlock and serialization failure: the whole transaction may be tried again. */
const RETRYABLE = new Set(['40P01', '40001']);
const MAX_TRIES = 5;

/** Runs changes: all of it and its record in the audit log, or nothing. */
@Injectable()
export class Changes {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(AUDIT) private readonly audit: AuditTrail,
    @Inject(IDENTITIES) private readonly identities: Pick<Identities, 'expire'>,
  ) {}

  /**
   * @param work is run again, from its beginning, when two changes stood in each other's way
   * @throws AppError CONFLICT when a name is taken, UNAVAILABLE when PostgreSQL is away, and what `work` throws
   */
  async run<T>(doing: Doing, work: (manager: EntityManager, note: Note) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        const result = await this.source.transaction((manager) =>
          work(manager, (entry) => this.audit.record({ ...entry, ...doing, result: 'ok' }, manager)),
        );
        // Who made a tenant acts in it at once, and a key that was revoked opens nothing any more.
        this.identities.expire();
        return result;
      } catch (error) {
        if (tries < MAX_TRIES && RETRYABLE.has(sqlState(error) ?? '')) continue;
        throw explain(error);
      }
    }
  }
}

/** Rows of one statement outside a change. @throws AppError UNAVAILABLE when PostgreSQL is away */
export async function ask<T>(
  source: DataSource | EntityManager,
  sql: string,
  parameters: unknown[],
): Promise<T[]> {
  try {
    return await source.query<T[]>(sql, parameters);
  } catch (error) {
    // Inside a change it is `Changes` that must see what happened.
    throw source instanceof DataSource ? explain(error) : error;
  }
}

/** A list as SQL. None of these texts comes from a client; what does is in `parameters`. */
export interface List {
  /** What is listed; with `filters` it is what a cursor is bound to. */
  name: string;
  filters: unknown;
  columns: string;
  from: string;
  where: string;
  parameters: unknown[];
  /** What the rows are sorted by, the same rows always in the same order. */
  sortedBy: readonly SortKey[];
  newestFirst?: boolean;
}

interface SortKey {
  sql: string;
  /** PostgreSQL's type, and the letter that `decodeCursor` checks it by. */
  type: 'bigint' | 'text';
  letter: 'i' | 's';
}

/** Oldest first, so that what is added meanwhile comes on the last page. */
export const byAge = (table: string, id = `${table}.id`): SortKey[] => [
  { sql: `(extract(epoch FROM ${table}.created_at) * 1000000)::bigint`, type: 'bigint', letter: 'i' },
  { sql: `${id}::text`, type: 'text', letter: 's' },
];

/** Counting stops here; a list that is longer is shown as just so long, and paged on by its cursor. */
const COUNTED_ROWS = 100_000;
/** For lists that have no time of their own. */
const ALWAYS: TimeRange = { fromNs: 0n, toNs: 1n };

/**
 * One page of a list.
 *
 * @param range what a cursor keeps for the next page; `listFor` is given the one that holds
 * @throws AppError INVALID_ARGUMENT for a cursor of another question, UNAVAILABLE when PostgreSQL is away
 */
export async function listRows<Row>(
  scope: Scope,
  source: DataSource,
  listFor: (range: TimeRange) => List,
  request: PageRequest,
  range = ALWAYS,
): Promise<Page<Row>> {
  const started = performance.now();
  const { name, filters, sortedBy } = listFor(range);
  const letters = sortedBy.map(({ letter }) => letter).join('');
  const place = placeOf(scope, name, filters, range, request, letters);
  const list = listFor(place.range);
  const { columns, from, where, parameters } = list;
  const order = sortedBy.map(({ sql }) => `${sql} ${list.newestFirst ? 'DESC' : 'ASC'}`).join(', ');
  const key = sortedBy.map(({ sql }) => `(${sql})::text`).join(', ');
  const found = await ask<Row & { sort_key: string[] }>(
    source,
    `SELECT ${columns}, ARRAY[${key}] AS sort_key FROM ${from} WHERE ${where} ${beyond(list, place.cursor !== undefined)}
     ORDER BY ${order} LIMIT ${place.limit + 1} OFFSET ${place.offset}`,
    [...parameters, ...(place.cursor?.key ?? [])],
  );
  const total = place.cursor?.total ?? (await count(source, list));
  const rows = found.slice(0, place.limit);
  const last = found.length > place.limit ? { key: rows[rows.length - 1].sort_key, copies: 0 } : undefined;
  const data = rows.map(({ sort_key, ...row }) => row as Row);
  const elapsed_ms = Math.round((performance.now() - started) * 10) / 10;
  const meta = { source: 'postgresql', cache: 'miss', rows_read: 0, bytes_read: 0, elapsed_ms } as const;
  return pageAt(place, data, total, last, meta);
}

/** The condition that the page before ended here. */
function beyond({ sortedBy, parameters, newestFirst }: List, hasCursor: boolean): string {
  if (!hasCursor) return '';
  const keys = sortedBy.map(({ sql }) => sql).join(', ');
  const values = sortedBy.map(({ type }, i) => `$${parameters.length + i + 1}::${type}`).join(', ');
  return `AND (${keys}) ${newestFirst ? '<' : '>'} (${values})`;
}

async function count(source: DataSource, { from, where, parameters }: List): Promise<number> {
  const sql = `SELECT count(*)::integer AS matches
    FROM (SELECT 1 FROM ${from} WHERE ${where} LIMIT ${COUNTED_ROWS}) AS counted`;
  return (await ask<{ matches: number }>(source, sql, parameters))[0].matches;
}

const driverError = (error: unknown) =>
  (error as { driverError?: { code?: string; constraint?: string } }).driverError ??
  (error as { code?: string; constraint?: string });
const sqlState = (error: unknown) => driverError(error).code;

const TAKEN: Record<string, string> = {
  workspaces_name: 'This organization has a workspace of this name already.',
  tenants_name: 'This workspace has a tenant of this name already.',
  notification_channels_name: 'This tenant has a notification channel of this name already.',
  dashboards_name: 'This tenant has a dashboard of this name already.',
  alert_rules_name: 'This tenant has an alert rule of this name already.',
};
const EXPLAINED: Record<string, [ErrorCode, string]> = {
  '22021': ['INVALID_ARGUMENT', 'The request has characters that cannot be kept.'],
  '40P01': ['UNAVAILABLE', 'Many changes at once; try again.'],
  '40001': ['UNAVAILABLE', 'Many changes at once; try again.'],
};
/** Errors of a server that is away, stopping or starting: connection exception, operator intervention, too many clients. */
const AWAY = /^(08...|57P0.|53300|ECONN\w+|EPIPE|ENOENT|ETIMEDOUT)$/;

function explain(error: unknown): unknown {
  if (error instanceof AppError) return error;
  const { code = '', constraint = '' } = driverError(error);
  if (code === '23505' && TAKEN[constraint])
    return new AppError('CONFLICT', TAKEN[constraint], { cause: error });
  const [known, message] = EXPLAINED[code] ?? [];
  if (known && message) return new AppError(known, message, { cause: error });
  const away = AWAY.test(code) || /Connection terminated|timeout exceeded/i.test((error as Error).message);
  if (away)
    return new AppError('UNAVAILABLE', 'The metadata database does not answer; try again.', { cause: error });
  return error;
}

/** What of `before` a change makes different; undefined when nothing. Compared as JSON. */
export function differences<T extends object>(
  before: T,
  change: Partial<T>,
): Record<string, { before: unknown; after: unknown }> | undefined {
  const fields = (Object.keys(change) as (keyof T & string)[]).filter(
    (field) => JSON.stringify(before[field] ?? null) !== JSON.stringify(change[field] ?? null),
  );
  if (fields.length === 0) return undefined;
  return Object.fromEntries(
    fields.map((field) => [field, { before: before[field] ?? null, after: change[field] ?? null }]),
  );
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/**
 * What is not the caller's is answered like what does not exist, and so is what could not be an id.
 *
 * @throws AppError NOT_FOUND when the text is no UUID
 */
export function assertId(thing: string, id: string): void {
  if (!UUID.test(id)) throw notFound(thing);
}

export const notFound = (thing: string) => new AppError('NOT_FOUND', `There is no such ${thing} here.`);

/** Organizations and their members are above a tenant, so no key changes them. @throws AppError PERMISSION_DENIED */
export function assertLogin(principal: Principal): void {
  if (principal.kind === 'user') return;
  throw new AppError(
    'PERMISSION_DENIED',
    'This takes the login of a user: a key acts within its own tenant alone.',
  );
}

/**
 * Forgets the oldest rows of a table, 1000 at most, of all tenants.
 *
 * @param over the column that says when a row was over; null while it is not
 * @returns how many
 */
export async function removeOldRows(
  source: DataSource,
  { table, over }: { table: string; over: string },
  before: Date,
): Promise<number> {
  const [removed] = await source.query<[{ count: number }]>(
    `WITH removed AS (
       DELETE FROM ${table} WHERE id IN (SELECT id FROM ${table} WHERE ${over} < $1 ORDER BY ${over} LIMIT 1000)
       RETURNING 1)
     SELECT count(*)::integer AS count FROM removed`,
    [before],
  );
  return removed.count;
}

/**
 * A row that the caller may see, by its id.
 *
 * @param sql says whose rows these are by `parameters`, and takes the id after them
 * @throws AppError NOT_FOUND when there is none, or it is another's; UNAVAILABLE when PostgreSQL is away
 */
export async function readOne<Row>(
  source: DataSource | EntityManager,
  thing: string,
  id: string,
  sql: string,
  parameters: unknown[],
): Promise<Row> {
  assertId(thing, id);
  const [row] = await ask<Row>(source, sql, [...parameters, id]);
  if (!row) throw notFound(thing);
  return row;
}
