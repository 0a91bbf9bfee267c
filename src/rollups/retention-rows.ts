import type { DataSource, EntityManager } from 'typeorm';
import type { DataType, RetentionOverride } from '../retention.js';

/** What a tenant has of its own for one type of data; null: as the settings say. */
export interface Rule {
  days: number | null;
  /** Of a signal: no more than about so much on disk. */
  max_bytes: number | null;
}
export type Rules = Partial<Record<DataType, Rule>>;

/** Where tenants differ from the settings. */
export interface Overrides {
  days: Map<string, RetentionOverride>;
  maxBytes: { tenantId: string; dataType: DataType; maxBytes: number }[];
}

interface Row extends Rule {
  tenant_id: string;
  data_type: DataType;
}

const COLUMNS = 'tenant_id, data_type, days, max_bytes::float8 AS max_bytes';

/** Of all tenants, deleted ones too. */
export async function readOverrides(source: DataSource): Promise<Overrides> {
  const rows = await source.query<Row[]>(
    `SELECT ${COLUMNS} FROM tenant_retention ORDER BY tenant_id, data_type`,
  );
  const overrides: Overrides = { days: new Map(), maxBytes: [] };
  for (const { tenant_id: tenantId, data_type: dataType, days, max_bytes: maxBytes } of rows) {
    if (days !== null) overrides.days.set(tenantId, { ...overrides.days.get(tenantId), [dataType]: days });
    if (maxBytes !== null) overrides.maxBytes.push({ tenantId, dataType, maxBytes });
  }
  return overrides;
}

/** Of one tenant. */
export async function readRules(source: DataSource | EntityManager, tenantId: string): Promise<Rules> {
  const rows = await source.query<Row[]>(`SELECT ${COLUMNS} FROM tenant_retention WHERE tenant_id = $1`, [
    tenantId,
  ]);
  return Object.fromEntries(rows.map(({ data_type, days, max_bytes }) => [data_type, { days, max_bytes }]));
}

/** In place of all that the tenant has. */
export async function writeRules(manager: EntityManager, tenantId: string, rules: Rules): Promise<void> {
  await manager.query('DELETE FROM tenant_retention WHERE tenant_id = $1', [tenantId]);
  for (const [dataType, { days, max_bytes }] of Object.entries(rules)) {
    if (days === null && max_bytes === null) continue;
    await manager.query(
      'INSERT INTO tenant_retention (tenant_id, data_type, days, max_bytes) VALUES ($1, $2, $3, $4)',
      [tenantId, dataType, days, max_bytes],
    );
  }
}
