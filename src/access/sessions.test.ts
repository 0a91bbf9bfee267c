import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { AuditList, newCache, openAccessDatabase } from '../../test/support/access-database.js';
import type { Postgres } from '../connections/postgres.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import { hashPassword } from '../tenants/password.js';
import { identitiesOf } from './access.module.js';
import { AccessTokens } from './access-token.js';
import { makeFirstAdmin, makePassword } from './first-start.js';
import type { KnownIdentities } from './known-identities.js';
import { removeEndedSessions } from './session-rows.js';
import { Sessions, type Tokens } from './sessions.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-sessions-'));
const tokens = new AccessTokens(Buffer.alloc(32, 1));
const audit = new AuditList();
const PASSWORD = 'correct horse battery staple';
const origin = { remoteAddress: '127.0.0.1', userAgent: 'test', correlationId: 'c' };
const unauthenticated = (error: unknown) => error instanceof AppError && error.code === 'UNAUTHENTICATED';
const invalid = (error: unknown) => error instanceof AppError && error.code === 'INVALID_ARGUMENT';

let postgres: Postgres;
let scope: Scope;
let sessions: Sessions;
let identities: KnownIdentities;
let userId: string;
let email: string;

before(async () => {
  ({ postgres, scope } = await openAccessDatabase(folder));
  identities = identitiesOf(postgres.dataSource, newCache(), tokens, () => undefined);
  sessions = new Sessions(postgres.dataSource, tokens, audit, () => identities.expire());
});
after(async () => {
  await postgres.close();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  userId = randomUUID();
  email = `${userId}@Localhost`;
  await postgres.query('INSERT INTO users (id, email, password_hash) VALUES ($1, $2, $3)', [
    userId,
    email,
    await hashPassword(PASSWORD),
  ]);
  await postgres.query(`INSERT INTO memberships (user_id, organization_id, role) VALUES ($1, $2, 'editor')`, [
    userId,
    scope.organizationId,
  ]);
  audit.take();
});

const find = ({ access_token }: Tokens) => identities.find(access_token, undefined);
const login = (password = PASSWORD) => sessions.login(email, password, origin);

describe('A login', () => {
  it('takes the e-mail address in any case, and gives tokens that work', async () => {
    const given = await sessions.login(email.toUpperCase(), PASSWORD, origin);
    assert.deepEqual([given.token_type, given.expires_in], ['Bearer', 900]);
    const principal = (await find(given))!;
    assert.deepEqual([principal.id, principal.role, principal.scope], [userId, 'editor', scope]);
    const [event] = audit.events;
    assert.deepEqual(
      [event.action, event.result, event.principal?.id, event.remoteAddress, event.correlationId],
      ['session.login', 'ok', userId, '127.0.0.1', 'c'],
    );
  });

  it('is refused alike for a wrong password, an unknown address and a disabled user, and noted', async () => {
    const messages = new Set<string>();
    const refused = (error: unknown) => {
      if (error instanceof AppError) messages.add(error.message);
      return unauthenticated(error);
    };
    await assert.rejects(() => login(`${PASSWORD}.`), refused);
    await assert.rejects(() => sessions.login('nobody@localhost', PASSWORD, origin), refused);
    await postgres.query('UPDATE users SET disabled_at = now() WHERE id = $1', [userId]);
    await assert.rejects(login, refused);
    assert.equal(messages.size, 1);
    assert.ok(!JSON.stringify(audit.events).includes('horse'));
    assert.deepEqual(audit.take(), Array(3).fill('session.login refused'));
  });

  it('takes as long for an unknown address as for a wrong password', async () => {
    const times = { known: [] as number[], unknown: [] as number[] };
    for (let round = 0; round < 12; round++) {
      for (const [kind, address] of Object.entries({ known: email, unknown: `${round}@localhost` })) {
        const startedAt = performance.now();
        await assert.rejects(() => sessions.login(address, 'wrong', origin), unauthenticated);
        times[kind as keyof typeof times].push(performance.now() - startedAt);
      }
    }
    const median = (list: number[]) => list.sort((a, b) => a - b)[6];
    const [known, unknown] = [median(times.known), median(times.unknown)];
    console.log(`# known ${known.toFixed(1)} ms, unknown ${unknown.toFixed(1)} ms`);
    assert.ok(unknown > known / 1.5 && known > unknown / 1.5, `${known} and ${unknown} ms`);
  });

  it('keeps no token as it is', async () => {
    const { refresh_token, access_token } = await login();
    const rows = await postgres.query(
      'SELECT r.token_hash::text, s.* FROM refresh_tokens r JOIN sessions s ON true',
    );
    const text = JSON.stringify(rows);
    for (const token of [refresh_token, access_token]) {
      assert.ok(!text.includes(token) && !text.includes(Buffer.from(token).toString('hex')));
    }
  });
});

describe('A refresh token', () => {
  it('works once, and the next one works', async () => {
    const first = await login();
    const second = await sessions.refresh(first.refresh_token, origin);
    const third = await sessions.refresh(second.refresh_token, origin);
    assert.ok(await find(third));
    assert.equal(new Set([first, second, third].map(({ refresh_token }) => refresh_token)).size, 3);
  });

  it('that comes a second time ends the session: no token of it works any more', async () => {
    const first = await login();
    const second = await sessions.refresh(first.refresh_token, origin);
    const other = await login();
    assert.ok(await find(second));
    audit.take();
    await assert.rejects(() => sessions.refresh(first.refresh_token, origin), unauthenticated);
    assert.deepEqual(audit.take(), ['session.refresh refused']);
    for (const { access_token } of [first, second])
      assert.equal(await identities.find(access_token, undefined), undefined);
    await assert.rejects(() => sessions.refresh(second.refresh_token, origin), unauthenticated);
    assert.ok(await find(other), 'the user’s other sessions go on');
  });

  it('of an ended or expired session, of a disabled user, or of nobody, is refused', async () => {
    const [ended, expired, disabled] = [await login(), await login(), await login()];
    await sessions.logout((await find(ended))!, origin);
    const { sessionId } = (await find(expired))!;
    await postgres.query('UPDATE sessions SET expires_at = now() WHERE id = $1', [sessionId]);
    for (const { refresh_token } of [ended, expired])
      await assert.rejects(() => sessions.refresh(refresh_token, origin), unauthenticated);
    await postgres.query('UPDATE users SET disabled_at = now() WHERE id = $1', [userId]);
    await assert.rejects(() => sessions.refresh(disabled.refresh_token, origin), unauthenticated);
    const before = await postgres.query('SELECT version FROM access_version');
    for (const text of ['', 'tfr_', disabled.access_token, 'x'.repeat(10_000)])
      await assert.rejects(() => sessions.refresh(text, origin), unauthenticated);
    assert.deepEqual(
      await postgres.query('SELECT version FROM access_version'),
      before,
      'guesses change nothing',
    );
  });
});

describe('Ending', () => {
  it('a logout ends its own session at once', async () => {
    const [one, other] = [await login(), await login()];
    audit.take();
    await sessions.logout((await find(one))!, origin);
    assert.deepEqual(audit.take(), ['session.logout ok']);
    assert.equal(await find(one), undefined);
    assert.ok(await find(other));
  });

  it('another password ends all other sessions, and the old one is wrong from now on', async () => {
    const [one, other] = [await login(), await login()];
    const principal = (await find(one))!;
    const next = makePassword();
    await assert.rejects(() => sessions.changePassword(principal, 'wrong', next, origin), invalid);
    audit.take();
    await sessions.changePassword(principal, PASSWORD, next, origin);
    assert.deepEqual(audit.take(), ['user.password ok']);
    assert.ok(await find(one));
    assert.equal(await find(other), undefined);
    await assert.rejects(() => sessions.refresh(other.refresh_token, origin), unauthenticated);
    assert.ok(await sessions.refresh(one.refresh_token, origin));
    await assert.rejects(() => login(), unauthenticated);
    assert.ok(await login(next));
  });

  it('a key has no session to end and no password to change', async () => {
    const key = { kind: 'key', id: 'k', name: 'k', scope, permissions: new Set(['read'] as const) } as const;
    const denied = { code: 'PERMISSION_DENIED' };
    await assert.rejects(() => sessions.logout(key, origin), denied);
    await assert.rejects(() => sessions.changePassword(key, PASSWORD, makePassword(), origin), denied);
  });

  it('what ended over a day ago is removed, and only that', async () => {
    const [old, fresh] = [await login(), await login()];
    const { sessionId } = (await find(old))!;
    await postgres.query(`UPDATE sessions SET expires_at = now() - interval '2 days' WHERE id = $1`, [
      sessionId,
    ]);
    await removeEndedSessions(postgres.dataSource);
    assert.deepEqual(await postgres.query('SELECT 1 FROM sessions WHERE id = $1', [sessionId]), []);
    assert.ok(await sessions.refresh(fresh.refresh_token, origin));
    const before = await postgres.query('SELECT version FROM access_version');
    await removeEndedSessions(postgres.dataSource);
    assert.deepEqual(await postgres.query('SELECT version FROM access_version'), before);
  });

  it('a link opens a session that ends with its token', async () => {
    const token = await sessions.openByLink(userId, origin);
    const principal = (await identities.find(token, undefined))!;
    const [{ seconds }] = await postgres.query<{ seconds: number }>(
      'SELECT extract(epoch FROM expires_at - created_at)::integer AS seconds FROM sessions WHERE id = $1',
      [principal.sessionId],
    );
    assert.equal(seconds, 900);
  });
});

describe('The first admin', () => {
  it('is made only when there is no user at all', async () => {
    assert.equal(await makeFirstAdmin(postgres.dataSource, scope, audit), undefined);
    await postgres.query('DELETE FROM users');
    const made = (await makeFirstAdmin(postgres.dataSource, scope, audit))!;
    assert.match(made.password, /^[a-z2-9]{6}(-[a-z2-9]{6}){3}$/);
    assert.equal(await makeFirstAdmin(postgres.dataSource, scope, audit), undefined);
    assert.deepEqual(audit.take(), ['user.create ok', 'api_key.create ok']);
    const admin = await find(await sessions.login('admin@localhost', made.password, origin));
    assert.equal(admin?.role, 'owner');
    const key = await identities.find(made.ingestKey, undefined);
    assert.deepEqual([[...key!.permissions], key!.scope], [['ingest'], scope]);
  });
});
