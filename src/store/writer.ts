import type { ClickHouse } from '../connections/clickhouse.js';
import type { Scope } from '../edge/scope.js';
import type { Signal } from '../signal.js';

const TABLE: Record<Signal, string> = {
  traces: 'telemetry_traces',
  logs: 'telemetry_logs',
  metrics: 'telemetry_metrics',
};

/** A Native block in a file: its columns are those of the signal's table, less the scope. */
export interface BlockFile {
  path: string;
  columns: string[];
  structure: string;
}

/**
 * Stores one block of one tenant in one INSERT. Repeated with the same token it stores nothing more, in the table and in
 * every view that reads from it.
 *
 * @param token at most 1,000 tokens ago is remembered (`non_replicated_deduplication_window`)
 */
export async function writeBlock(
  clickhouse: ClickHouse,
  scope: Scope,
  signal: Signal,
  block: BlockFile,
  token: string,
): Promise<void> {
  await clickhouse.insertNative({
    table: TABLE[signal],
    constants: {
      organization_id: scope.organizationId,
      workspace_id: scope.workspaceId,
      tenant_id: scope.tenantId,
    },
    columns: block.columns,
    structure: block.structure,
    file: block.path,
    deduplicationToken: token,
  });
}
