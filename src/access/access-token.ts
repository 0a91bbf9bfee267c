import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { errors, jwtVerify, SignJWT } from 'jose';
import type { Config } from '../config.js';
import { keptSecret } from '../kept-secret.js';

export const ACCESS_TOKEN_SECONDS = 15 * 60;
const ISSUER = 'telemetryflow';
const AUDIENCE = 'telemetryflow-api';
/** Pinned: what a token itself says of how it was signed is not believed. */
const ALGORITHM = 'HS256';

/** What a token says: whose session it belongs to. What that session may do is never in it. */
export interface TokenClaims {
  userId: string;
  sessionId: string;
  expiresAtMs: number;
}

/** Makes and checks the JWTs that logins work with. */
export class AccessTokens {
  constructor(private readonly secret: Uint8Array) {}

  /** A token of this session that is good for 15 minutes. */
  sign(userId: string, sessionId: string, nowMs: number): Promise<string> {
    const nowSeconds = Math.floor(nowMs / 1000);
    return new SignJWT({ sid: sessionId })
      .setProtectedHeader({ alg: ALGORITHM, typ: 'JWT' })
      .setIssuer(ISSUER)
      .setAudience(AUDIENCE)
      .setSubject(userId)
      .setJti(randomUUID())
      .setIssuedAt(nowSeconds)
      .setExpirationTime(nowSeconds + ACCESS_TOKEN_SECONDS)
      .sign(this.secret);
  }

  /** What a token of ours says; undefined when it is not one: forged, expired, for another audience, of another shape. */
  async verify(token: string, nowMs: number): Promise<TokenClaims | undefined> {
    try {
      const { payload } = await jwtVerify(token, this.secret, {
        algorithms: [ALGORITHM],
        issuer: ISSUER,
        audience: AUDIENCE,
        requiredClaims: ['iss', 'aud', 'sub', 'sid', 'jti', 'iat', 'exp'],
        currentDate: new Date(nowMs),
      });
      const { sub, sid, exp } = payload;
      if (!isUuid(sub) || !isUuid(sid) || typeof exp !== 'number') return undefined;
      return { userId: sub, sessionId: sid, expiresAtMs: exp * 1000 };
    } catch (error) {
      if (error instanceof errors.JOSEError || error instanceof TypeError) return undefined;
      throw error;
    }
  }
}

function isUuid(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(value);
}

/**
 * What tokens are signed with: the setting, or 32 random bytes that the first start makes and keeps in DATA_DIR, readable by
 * this user alone.
 *
 * @throws StartupError when the kept one cannot be read, written or is too short
 */
export function jwtSecret(config: Pick<Config, 'JWT_SECRET' | 'DATA_DIR'>): Uint8Array {
  if (config.JWT_SECRET !== undefined) return Buffer.from(config.JWT_SECRET);
  return keptSecret(
    join(config.DATA_DIR, 'jwt-secret'),
    'Remove it: a new one is made, and everyone logs in again.',
  );
}
