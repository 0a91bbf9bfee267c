import type { DataSource } from 'typeorm';
import type { Config } from '../config.js';
import type { Permission } from '../edge/principal.js';
import { StartupError } from '../errors.js';
import { createApiKey } from '../tenants/api-key.js';
import { findTenant } from './access.js';
import { addressOf } from './address.js';
import { withDatabase } from './database.js';

/** A command that is killed leaves its key behind: not for long. */
const KEY_LIFE_MS = 3_600_000;

/** A request to the running server's API; the path begins after `/api/v1`. */
export type Call = <T>(method: 'GET' | 'POST' | 'PATCH', path: string, body?: unknown) => Promise<T>;

/** Which server, and by which key, where it is not the one of the data folder and a key of the command's own. */
export interface Target {
  url?: string;
  key?: string;
}

/**
 * Gives a command the API of a running server. Without a key it makes itself one, of the default tenant, through the database
 * (DATABASE_URL or DATA_DIR), and takes it away at the end.
 *
 * @throws StartupError when no server answers, or it refuses
 */
export async function withServer<T>(
  config: Config,
  target: Target,
  permissions: readonly Permission[],
  use: (call: Call) => Promise<T>,
): Promise<T> {
  const url = target.url ?? addressOf(config);
  if (target.key !== undefined) return use(callsTo(url, target.key));
  const made = await withDatabase(config, (source) => makeKey(source, permissions));
  try {
    return await use(callsTo(url, made.key));
  } finally {
    await withDatabase(config, (source) => source.query('DELETE FROM api_keys WHERE id = $1', [made.id]));
  }
}

async function makeKey(source: DataSource, permissions: readonly Permission[]) {
  const { tenantId } = await findTenant(source, undefined);
  const expiresAt = new Date(Date.now() + KEY_LIFE_MS);
  const name = 'of a command while it runs';
  return createApiKey(source, { tenantId, name, permissions, expiresAt, createdBy: 'system' });
}

function callsTo(url: string, key: string): Call {
  return async <T>(method: string, path: string, body?: unknown) => {
    const authorization = `Bearer ${key}`;
    // An empty body that calls itself JSON is refused.
    const options: RequestInit =
      body === undefined
        ? { method, headers: { authorization } }
        : {
            method,
            headers: { authorization, 'content-type': 'application/json' },
            body: JSON.stringify(body),
          };
    let response: Response;
    try {
      response = await fetch(`${url}/api/v1${path}`, options);
    } catch (error) {
      const { cause } = error as { cause?: Error };
      throw new StartupError(`No server answers at ${url} (${cause?.message ?? error}). Is it running?`);
    }
    const text = await response.text();
    if (response.ok) return JSON.parse(text) as T;
    throw new StartupError(`${url} answered ${response.status}: ${messageOf(text)}`);
  };
}

function messageOf(text: string): string {
  try {
    return (JSON.parse(text) as { message: string }).message;
  } catch {
    return text.slice(0, 200);
  }
}
