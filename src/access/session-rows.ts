import { createHash, randomBytes } from 'node:crypto';
import type { DataSource, EntityManager } from 'typeorm';

/** What is kept of a refresh token, which has 256 random bits. */
export const hashRefreshToken = (token: string) => createHash('sha256').update(token).digest();

/** Sets a password and ends the user's sessions, but the one that is given. */
export async function setPassword(
  manager: EntityManager,
  userId: string,
  hash: string,
  keptSessionId: string | null,
): Promise<void> {
  await manager.query('UPDATE users SET password_hash = $2 WHERE id = $1', [userId, hash]);
  await manager.query(
    'UPDATE sessions SET revoked_at = now() WHERE user_id = $1 AND id IS DISTINCT FROM $2 AND revoked_at IS NULL',
    [userId, keptSessionId],
  );
}

/** Sessions that are over, and their refresh tokens, are of no use to anybody; asked first, since a DELETE grows the version. */
export async function removeEndedSessions(source: DataSource): Promise<void> {
  const ENDED = "least(revoked_at, expires_at) < now() - interval '1 day'";
  const [ended] = await source.query<unknown[]>(`SELECT 1 FROM sessions WHERE ${ENDED} LIMIT 1`);
  if (ended) await source.query(`DELETE FROM sessions WHERE ${ENDED}`);
}

/** The next refresh token of a session; its text is kept nowhere. */
export async function addRefreshToken(manager: EntityManager, sessionId: string): Promise<string> {
  const token = `tfr_${randomBytes(32).toString('base64url')}`;
  await manager.query('INSERT INTO refresh_tokens (token_hash, session_id) VALUES ($1, $2)', [
    hashRefreshToken(token),
    sessionId,
  ]);
  return token;
}

/** Rows of a statement: TypeORM gives `[rows, count]` for an UPDATE and the rows alone for a SELECT. */
export async function rowsOf<Row>(manager: EntityManager, sql: string, values: unknown[]): Promise<Row[]> {
  const result = (await manager.query(sql, values)) as Row[] | [Row[], number];
  return Array.isArray(result[0]) ? result[0] : (result as Row[]);
}
