import { AsyncLocalStorage } from 'node:async_hooks';
import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';

/** A statement that was asked, and how the engine found its rows. */
export interface ExplainedStatement {
  /** Values stand as `{name:Type}`; they are in `parameters`. */
  statement: string;
  parameters: Record<string, unknown>;
  rows_read: number;
  /** Lines of `EXPLAIN indexes = 1`. */
  indexes: string[];
}

/** What is told of one question while it is being answered. */
export class Explanation {
  readonly statements: ExplainedStatement[] = [];

  /** After the statement has been answered, and within the same limits. */
  async add(
    clickhouse: ClickHouse,
    scope: Scope,
    statement: string,
    parameters: Record<string, unknown>,
    rowsRead: number,
  ): Promise<void> {
    const plan = await clickhouse.readFor<{ explain: string }>(
      scope,
      `EXPLAIN indexes = 1 ${statement}`,
      parameters,
    );
    const indexes = plan.rows.map(({ explain }) => explain);
    this.statements.push({ statement, parameters, rows_read: rowsRead, indexes });
  }
}

const current = new AsyncLocalStorage<Explanation>();

/** Everything asked within `work` is explained. It is known by where it is called from, not by an argument, because it changes no question. */
export const explained = <T>(work: () => Promise<T>): Promise<T> => current.run(new Explanation(), work);

/** undefined unless the question is to be explained. */
export const currentExplanation = (): Explanation | undefined => current.getStore();
