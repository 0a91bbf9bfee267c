import type { DataSource, EntityManager } from 'typeorm';
import type { Scope } from '../edge/scope.js';

/** Which of these channels are not the tenant's, or not there. */
export async function unknownChannels(
  scope: Scope,
  source: DataSource | EntityManager,
  channelIds: readonly string[],
): Promise<string[]> {
  const sql = 'SELECT id FROM notification_channels WHERE tenant_id = $1 AND id = ANY($2::uuid[])';
  const rows = await source.query<{ id: string }[]>(sql, [scope.tenantId, channelIds]);
  const known = new Set(rows.map(({ id }) => id));
  return channelIds.filter((id) => !known.has(id.toLowerCase()));
}
