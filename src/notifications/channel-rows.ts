import type { DataSource, EntityManager } from 'typeorm';
import type { Scope } from '../edge/scope.js';
import type { SecretBox } from '../secret-box.js';
import { ask, readOne } from '../tenants/rows.js';
import { type KindName, maskSettings, type Settings, splitSettings } from './channel-settings.js';

/** A channel as it is shown: secrets only as being there. */
export interface Channel {
  id: string;
  name: string;
  kind: KindName;
  enabled: boolean;
  settings: Settings;
  /** Whether something of its settings is kept encrypted. */
  has_secret: boolean;
  /** Whether that can be decrypted with the key of this process; without it nothing is sent. */
  secret_readable: boolean;
  /** Id of the user or key that made it. */
  created_by: string;
  created_at: Date;
  updated_at: Date;
}

/** The same with what is not shown. */
export interface OpenChannel {
  channel: Channel;
  settings: Settings;
}

export interface ChannelRow extends Omit<Channel, 'has_secret' | 'secret_readable'> {
  secrets: Buffer | null;
  key_id: string | null;
}

export const CHANNEL_COLUMNS = `notification_channels.id, name, kind, enabled, settings, secrets, key_id, created_by,
  notification_channels.created_at, updated_at`;

/** A channel with its secrets, or without them when they were encrypted under a key that is not here. */
export function openRow(box: SecretBox, row: ChannelRow): OpenChannel {
  const { secrets, key_id, ...channel } = row;
  const sealed = secrets && key_id ? { keyId: key_id, bytes: secrets } : undefined;
  const isReadable = sealed === undefined || box.canOpen(sealed.keyId);
  const hidden = sealed && isReadable ? (JSON.parse(box.open(sealed, row.id)) as Settings) : {};
  const settings = { ...row.settings, ...hidden };
  const shown = maskSettings(row.kind, settings);
  return {
    channel: { ...channel, settings: shown, has_secret: sealed !== undefined, secret_readable: isReadable },
    settings,
  };
}

/** @throws AppError NOT_FOUND when it is not the scope's tenant's */
export async function readChannel(
  scope: Scope,
  source: DataSource | EntityManager,
  id: string,
  forChange = false,
): Promise<ChannelRow> {
  const sql = `SELECT ${CHANNEL_COLUMNS} FROM notification_channels WHERE tenant_id = $1 AND id = $2 ${forChange ? 'FOR UPDATE' : ''}`;
  return readOne(source, 'notification channel', id, sql, [scope.tenantId]);
}

interface NewChannel {
  id: string;
  name: string;
  kind: KindName;
  enabled: boolean;
  settings: Settings;
  createdBy: string;
}

export async function insertChannel(
  scope: Scope,
  manager: EntityManager,
  box: SecretBox,
  { id, name, kind, enabled, settings, createdBy }: NewChannel,
): Promise<void> {
  await ask(
    manager,
    `INSERT INTO notification_channels (id, tenant_id, name, kind, enabled, created_by, settings, secrets, key_id)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    [id, scope.tenantId, name, kind, enabled, createdBy, ...storedSettings(box, id, kind, settings)],
  );
}

export async function renameChannel(
  scope: Scope,
  manager: EntityManager,
  id: string,
  { name, enabled }: Pick<NewChannel, 'name' | 'enabled'>,
): Promise<void> {
  const sql = `UPDATE notification_channels SET name = $3, enabled = $4, updated_at = now()
    WHERE tenant_id = $1 AND id = $2`;
  await ask(manager, sql, [scope.tenantId, id, name, enabled]);
}

export async function updateChannel(
  scope: Scope,
  manager: EntityManager,
  box: SecretBox,
  { id, kind }: Pick<Channel, 'id' | 'kind'>,
  { name, enabled, settings }: Pick<NewChannel, 'name' | 'enabled' | 'settings'>,
): Promise<void> {
  await ask(
    manager,
    `UPDATE notification_channels SET name = $3, enabled = $4, settings = $5, secrets = $6, key_id = $7, updated_at = now()
     WHERE tenant_id = $1 AND id = $2`,
    [scope.tenantId, id, name, enabled, ...storedSettings(box, id, kind, settings)],
  );
}

/** The columns settings, secrets and key_id. */
function storedSettings(box: SecretBox, id: string, kind: KindName, settings: Settings): unknown[] {
  const { shown, hidden } = splitSettings(kind, settings);
  const sealed = Object.keys(hidden).length > 0 ? box.seal(JSON.stringify(hidden), id) : undefined;
  return [JSON.stringify(shown), sealed?.bytes ?? null, sealed?.keyId ?? null];
}

/**
 * Encrypts anew, under the key in force, what was encrypted under the one before; so that one may be forgotten.
 *
 * @returns how many channels were, and how many have secrets that cannot be read here
 */
export async function renewSecrets(
  source: DataSource,
  box: SecretBox,
): Promise<{ renewed: number; unreadable: number }> {
  const sql = 'SELECT id, secrets, key_id FROM notification_channels WHERE key_id <> $1';
  const rows = await source.query<{ id: string; secrets: Buffer; key_id: string }[]>(sql, [box.keyId]);
  let renewed = 0;
  for (const { id, secrets, key_id } of rows) {
    if (!box.canOpen(key_id)) continue;
    const text = box.open({ keyId: key_id, bytes: secrets }, id);
    const { bytes, keyId } = box.seal(text, id);
    // Not over what a change has written meanwhile.
    const update =
      'UPDATE notification_channels SET secrets = $3, key_id = $4 WHERE id = $1 AND secrets = $2';
    await source.query(update, [id, secrets, bytes, keyId]);
    renewed++;
  }
  return { renewed, unreadable: rows.length - renewed };
}
