import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import type { Signal } from '../signal.js';
import { type Asking, Where } from '../store/statement.js';
import type { LedgerSum, Minutes } from './ledger-balance.js';
import type { LedgerOutcome } from './ledger-rows.js';

interface Row {
  signal: Signal;
  outcome: LedgerOutcome;
  reason: string;
  items: string;
}

/** Items of one tenant in the ledger's table. @throws AppError as `Asking.rows` */
export async function readSums(scope: Scope, asking: Asking, minutes: Minutes): Promise<LedgerSum[]> {
  const where = new Where(scope);
  const [from, to] = secondsOf(minutes).map((seconds) => where.bind('UInt32', seconds));
  where.and(isBetween(from, to));
  return (await asking.rows<Row>(statement(String(where)), where)).map(sumOf);
}

/** Items of all tenants. @throws ClickHouseError, also when it takes longer */
export async function readAllSums(
  clickhouse: ClickHouse,
  minutes: Minutes,
  maxMs: number,
): Promise<LedgerSum[]> {
  const [from, to] = secondsOf(minutes);
  const query = statement(isBetween('{from:UInt32}', '{to:UInt32}'));
  const options = { signal: AbortSignal.timeout(maxMs) };
  return (await clickhouse.read<Row>(query, { from, to }, options)).rows.map(sumOf);
}

const secondsOf = ({ fromMs, toMs }: Minutes) => [fromMs / 1000, toMs / 1000];
const isBetween = (from: string, to: string) =>
  `minute >= toDateTime(${from}, 'UTC') AND minute < toDateTime(${to}, 'UTC')`;
const statement = (where: string) =>
  `SELECT signal, outcome, reason, toString(sum(items)) AS items FROM ledger FINAL
WHERE ${where} GROUP BY signal, outcome, reason`;
const sumOf = (row: Row): LedgerSum => ({ ...row, items: Number(row.items) });
