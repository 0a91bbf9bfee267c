import type { DataSource } from 'typeorm';
import type { Owners } from '../retention.js';
import type { HourCount } from './aging-tables.js';

/** Rows that are about to go: which, why, and how many they were when last counted. */
export interface Expiration extends Owners {
  /** The ledger's. */
  token: string;
  tableName: string;
  partitionId: string;
  reason: ExpiryReason;
  counts: readonly HourCount[];
}

/** `age`: its retention is over; `tenant_limit`, `disk_limit`: there was too much of it. */
export type ExpiryReason = 'age' | 'tenant_limit' | 'disk_limit';

/** Notes it, or its new counts, durably. */
export async function noteExpiration(source: DataSource, expiration: Expiration): Promise<void> {
  const { token, tableName, partitionId, isExcept, tenantIds, reason, counts } = expiration;
  await source.query(
    `INSERT INTO expirations (token, table_name, partition_id, is_except, tenant_ids, reason, counts)
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (token) DO UPDATE SET counts = excluded.counts`,
    [token, tableName, partitionId, isExcept, tenantIds, reason, JSON.stringify(counts)],
  );
}

/** It is carried out. */
export async function forgetExpiration(source: DataSource, token: string): Promise<void> {
  await source.query('DELETE FROM expirations WHERE token = $1', [token]);
}

/** What an earlier run began and did not finish. */
export function unfinishedExpirations(source: DataSource): Promise<Expiration[]> {
  return source.query<Expiration[]>(
    `SELECT token, table_name AS "tableName", partition_id AS "partitionId", is_except AS "isExcept", tenant_ids AS "tenantIds",
       reason, counts FROM expirations ORDER BY created_at, token`,
  );
}
