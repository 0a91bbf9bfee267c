import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import { type Aggregation, aggregationsFor, type MetricKind } from './aggregation.js';

/** Of one process; a metric takes some 200 bytes. */
const MAX_REMEMBERED = 10_000;

/** A metric, as far as its kind depends on the question. */
interface Named {
  metric: string;
  services: readonly string[];
  agg?: Aggregation;
}

/**
 * What metrics were when they were last asked for. It is a guess, not knowledge: whoever uses it asks the store as well, and drops what
 * came of a wrong one. So nothing is lost when a metric changes, and a dashboard does not wait for one statement to begin the next.
 */
export class RememberedKinds {
  private readonly stores = new WeakMap<ClickHouse, Map<string, MetricKind>>();

  /** undefined also when what is asked has no meaning for the remembered kind. */
  guess(clickhouse: ClickHouse, scope: Scope, { metric, services, agg }: Named): MetricKind | undefined {
    const kind = this.stores.get(clickhouse)?.get(keyOf(scope, metric, services));
    return kind && (agg === undefined || aggregationsFor(kind).includes(agg)) ? kind : undefined;
  }

  remember(clickhouse: ClickHouse, scope: Scope, { metric, services }: Named, kind: MetricKind): void {
    const kinds = this.stores.get(clickhouse) ?? new Map<string, MetricKind>();
    if (kinds.size >= MAX_REMEMBERED) kinds.clear();
    kinds.set(keyOf(scope, metric, services), kind);
    this.stores.set(clickhouse, kinds);
  }
}

export const isSameKind = (a: MetricKind | undefined, b: MetricKind): boolean =>
  a?.type === b.type && a.monotonic === b.monotonic && a.delta === b.delta;

const keyOf = (
  { organizationId, workspaceId, tenantId }: Scope,
  metric: string,
  services: readonly string[],
) => JSON.stringify([organizationId, workspaceId, tenantId, metric, services]);
