import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { SignJWT, UnsecuredJWT } from 'jose';
import { StartupError } from '../errors.js';
import { ACCESS_TOKEN_SECONDS, AccessTokens, jwtSecret } from './access-token.js';

const secret = Buffer.alloc(32, 1);
const tokens = new AccessTokens(secret);
const [userId, sessionId] = [randomUUID(), randomUUID()];
const nowMs = 1_800_000_000_000;
const seconds = nowMs / 1000;

/** A token of ours but for what the test changes. */
async function forged(
  change: (jwt: SignJWT) => SignJWT = (jwt) => jwt,
  { alg = 'HS256', key = secret, claims = {} as Record<string, unknown> } = {},
) {
  const jwt = new SignJWT({ sid: sessionId, ...claims })
    .setProtectedHeader({ alg })
    .setIssuer('telemetryflow')
    .setAudience('telemetryflow-api')
    .setSubject(userId)
    .setJti('j')
    .setIssuedAt(seconds)
    .setExpirationTime(seconds + 60);
  return change(jwt).sign(key);
}

describe('Access tokens', () => {
  it('name their session for 15 minutes', async () => {
    const token = await tokens.sign(userId, sessionId, nowMs);
    const expiresAtMs = nowMs + ACCESS_TOKEN_SECONDS * 1000;
    assert.deepEqual(await tokens.verify(token, nowMs), { userId, sessionId, expiresAtMs });
    assert.ok(await tokens.verify(token, expiresAtMs - 1000));
    assert.equal(await tokens.verify(token, expiresAtMs), undefined);
  });

  it('are refused when anything is not as we make it', async () => {
    assert.ok(await tokens.verify(await forged(), nowMs), 'the forgery itself is right');
    const good = await tokens.sign(userId, sessionId, nowMs);
    const [head, body, signature] = good.split('.');
    const unsecured = new UnsecuredJWT({ sid: sessionId })
      .setIssuer('telemetryflow')
      .setAudience('telemetryflow-api')
      .setSubject(userId)
      .setJti('j')
      .setIssuedAt(seconds)
      .setExpirationTime(seconds + 60)
      .encode();
    const none = Buffer.from('{"alg":"none"}').toString('base64url');
    const wrong: Record<string, string> = {
      'another secret': await forged(undefined, { key: Buffer.alloc(32, 2) }),
      'another algorithm': await forged(undefined, { alg: 'HS512', key: Buffer.alloc(64, 1) }),
      'alg none': unsecured,
      'alg none with a signature': `${none}.${body}.${signature}`,
      'no signature': `${head}.${body}.`,
      'another audience': await forged((jwt) => jwt.setAudience('other')),
      'another issuer': await forged((jwt) => jwt.setIssuer('other')),
      expired: await forged((jwt) => jwt.setExpirationTime(seconds - 1)),
      'not valid yet': await forged((jwt) => jwt.setNotBefore(seconds + 30)),
      'no session': await forged(undefined, { claims: { sid: undefined } }),
      'a session that is no id': await forged(undefined, { claims: { sid: "' OR 1=1 --" } }),
      'a user that is no id': await forged((jwt) => jwt.setSubject('x')),
      'no end': await forged(undefined, { claims: { exp: undefined } }).then(async () =>
        new SignJWT({ sid: sessionId, iss: 'telemetryflow', aud: 'telemetryflow-api', sub: userId, jti: 'j' })
          .setProtectedHeader({ alg: 'HS256' })
          .setIssuedAt(seconds)
          .sign(secret),
      ),
      'not a token': 'a.b.c',
      nothing: '',
      'a long nothing': '.'.repeat(100_000),
    };
    for (const [what, token] of Object.entries(wrong))
      assert.equal(await tokens.verify(token, nowMs), undefined, what);
  });
});

describe('The secret that signs them', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tf-secret-'));
  const file = join(folder, 'jwt-secret');

  it('is made once, is random, and is for this user alone', () => {
    const made = jwtSecret({ JWT_SECRET: undefined, DATA_DIR: folder });
    assert.equal(made.length, 32);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.deepEqual(jwtSecret({ JWT_SECRET: undefined, DATA_DIR: folder }), made);
    const other = mkdtempSync(join(tmpdir(), 'tf-secret-'));
    assert.notDeepEqual(jwtSecret({ JWT_SECRET: undefined, DATA_DIR: other }), made);
    rmSync(other, { recursive: true });
  });

  it('is the setting where there is one, which is written nowhere', () => {
    const setting = 'x'.repeat(32);
    assert.equal(Buffer.from(jwtSecret({ JWT_SECRET: setting, DATA_DIR: folder })).toString(), setting);
    assert.ok(!readFileSync(file, 'utf8').includes('x'));
  });

  it('stops the start when it is damaged', () => {
    writeFileSync(file, 'abc\n');
    assert.throws(() => jwtSecret({ JWT_SECRET: undefined, DATA_DIR: folder }), StartupError);
    rmSync(folder, { recursive: true });
  });
});
