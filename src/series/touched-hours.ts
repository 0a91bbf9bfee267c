import type { ClickHouse } from '../connections/clickhouse.js';
import { quoteString } from '../connections/clickhouse-statement.js';
import type { Scope } from '../edge/scope.js';
import { HOUR_MS } from './rollup-plan.js';

/** With two minutes for the insert that follows, a note is still within `SETTLE_MS` of when its points are seen. */
const NOTE_EVERY_MS = 30_000;
/** Hours of tenants that are remembered; more are noted once too often. */
const MAX_REMEMBERED = 20_000;

/**
 * Notes of which hours points are stored, before they are: so no rollup can pass for whole that lacks them, whatever is killed when. A
 * note holds for half a minute, so it costs nothing that grows with inserts (docs/decisions/rollups.md).
 */
export class TouchedHours {
  /** When each was last noted, by this process' monotonic clock. */
  private readonly notedAtMs = new Map<string, number>();

  constructor(private readonly clickhouse: Pick<ClickHouse, 'insertValues'>) {}

  /**
   * Resolves when it is durable that points of these hours are being stored. To be called before their insert, and after it in case
   * that it took long.
   *
   * @param hoursMs first milliseconds of the hours
   * @throws isRetryable() tells whether the same may succeed later
   */
  async note(scope: Scope, hoursMs: readonly number[]): Promise<void> {
    const nowMs = performance.now();
    const owner = [scope.organizationId, scope.workspaceId, scope.tenantId].map(quoteString).join(', ');
    const keyOf = (hourMs: number) => `${owner} ${hourMs}`;
    const due = hoursMs.filter((hour) => !(nowMs - this.notedAtMs.get(keyOf(hour))! < NOTE_EVERY_MS));
    if (due.length === 0) return;
    // The hour after, too: its first increase may be counted from these points.
    const hours = [...new Set(due.flatMap((hour) => [hour, hour + HOUR_MS]))];
    await this.clickhouse.insertValues(
      `INSERT INTO rollup_hours (organization_id, workspace_id, tenant_id, hour, touched_at)
SELECT ${owner}, toDateTime(arrayJoin([${hours.map((hour) => hour / 1000).join(', ')}]), 'UTC'), now64(3, 'UTC')`,
    );
    if (this.notedAtMs.size > MAX_REMEMBERED) this.notedAtMs.clear();
    for (const hour of due) this.notedAtMs.set(keyOf(hour), nowMs);
  }
}
