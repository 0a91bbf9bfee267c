import type { Logger } from 'pino';
import type { DataSource } from 'typeorm';
import type { AuditEvent, AuditTrail } from '../edge/audit.js';

const INSERT = `INSERT INTO audit_log (organization_id, tenant_id, actor_kind, actor_id, actor_name, action,
  target_kind, target_id, target_name, remote_address, correlation_id, result, details)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`;

function rowOf({ principal, target, ...event }: AuditEvent): unknown[] {
  const { kind = 'anonymous', id = '', name = '', scope } = principal ?? {};
  return [
    event.organizationId ?? scope?.organizationId ?? null,
    scope?.tenantId ?? null,
    kind,
    id,
    name,
    event.action,
    target?.kind ?? '',
    target?.id ?? '',
    target?.name ?? '',
    event.remoteAddress ?? '',
    event.correlationId,
    event.result,
    JSON.stringify(event.details ?? {}),
  ];
}

/** The audit log in PostgreSQL. */
export class SqlAuditTrail implements AuditTrail {
  constructor(
    private readonly source: DataSource,
    private readonly log: Logger,
  ) {}

  async record(event: AuditEvent, manager?: { query(sql: string, values: unknown[]): Promise<unknown> }) {
    if (manager) {
      await manager.query(INSERT, rowOf(event));
      return;
    }
    try {
      await this.source.query(INSERT, rowOf(event));
    } catch (error) {
      this.log.error({ err: error, action: event.action }, 'An event could not be written to the audit log');
    }
  }
}
