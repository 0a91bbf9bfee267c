import { randomUUID } from 'node:crypto';
import type { DataSource, EntityManager } from 'typeorm';
import type { AuditEvent, AuditTrail } from '../edge/audit.js';
import { PERMISSIONS_OF_ROLE, type Principal } from '../edge/principal.js';
import { AppError } from '../errors.js';
import { hashPassword, verifyPassword } from '../tenants/password.js';
import { ACCESS_TOKEN_SECONDS, type AccessTokens } from './access-token.js';
import { readReach } from './identity-rows.js';
import { addRefreshToken, hashRefreshToken, rowsOf, setPassword } from './session-rows.js';

/** However often it is refreshed, after this a user logs in again. */
const SESSION_DAYS = 30;
const MAX_USER_AGENT = 400;

/** Where a request comes from, as the audit log keeps it. */
export interface Origin {
  remoteAddress: string | undefined;
  userAgent: string | undefined;
  correlationId: string;
}

export interface Tokens {
  access_token: string;
  token_type: 'Bearer';
  /** Seconds. */
  expires_in: number;
  refresh_token: string;
}

interface User {
  id: string;
  email: string;
  hash: string;
  isDisabled: boolean;
}

const wrongLogin = () => new AppError('UNAUTHENTICATED', 'The e-mail address or the password is wrong.');
const wrongRefresh = () =>
  new AppError('UNAUTHENTICATED', 'This refresh token is not known, was used, or its session has ended.');
/** What the password of an unknown address is compared with, so that it takes as long as a wrong one: of a forgotten text. */
const DECOY =
  '$argon2id$v=19$m=19456,p=1,t=2$MSqbjZzPcSY2XsF/4l/LNA$3Rn1Ohjhobf2n0zkHAKhGr7jYoEDFixW6bXSOxp+YCs';
const NO_ID = '00000000-0000-0000-0000-000000000000';

/** Logins: each is a session with one refresh token at a time, and any number of short-lived access tokens. */
export class Sessions {
  constructor(
    private readonly source: DataSource,
    private readonly tokens: AccessTokens,
    private readonly audit: AuditTrail,
    /** Called when a session has ended, so that this process knows at once. */
    private readonly changed: () => void,
  ) {}

  /**
   * Opens a session for who knows the password.
   *
   * @throws AppError UNAUTHENTICATED, the same and as slow whether the address, the password, or both are wrong
   */
  async login(email: string, password: string, origin: Origin): Promise<Tokens> {
    const user = await this.findUser('lower(email) = lower($1)', email);
    const isRight = await verifyPassword(user?.hash ?? DECOY, password);
    const opened = user && isRight && !user.isDisabled ? await this.openIfSame(user, origin) : undefined;
    if (opened) return opened;
    const organizationId = (await this.actor(user?.id ?? NO_ID, email))?.scope.organizationId;
    const target = { kind: 'user', id: user?.id ?? '', name: email };
    const event = { ...eventOf(origin, undefined), action: 'session.login', target, organizationId };
    await this.audit.record({ ...event, result: 'refused' });
    throw wrongLogin();
  }

  /**
   * A session without a password, for who has opened the link that was printed at the start; it ends with its access token.
   *
   * @param userId of a user that is not disabled
   */
  async openByLink(userId: string, origin: Origin): Promise<string> {
    const user = await this.findUser('id = $1', userId);
    if (!user || user.isDisabled) throw wrongLogin();
    const sessionId = await this.source.transaction((manager) =>
      this.insert(manager, user, `${ACCESS_TOKEN_SECONDS} seconds`, origin, { by: 'link' }),
    );
    return this.tokens.sign(user.id, sessionId, Date.now());
  }

  /**
   * New tokens for a refresh token that has not been used.
   *
   * @throws AppError UNAUTHENTICATED; when it has been used, it was stolen from one of two, and its session ends
   */
  async refresh(token: string, origin: Origin): Promise<Tokens> {
    const hash = hashRefreshToken(token);
    const renewed = await this.source.transaction(async (manager) => {
      const used = await rowsOf<{ sessionId: string }>(
        manager,
        `UPDATE refresh_tokens SET used_at = now() WHERE token_hash = $1 AND used_at IS NULL
         RETURNING session_id AS "sessionId"`,
        [hash],
      );
      if (used.length === 0) return undefined;
      const [session] = await rowsOf<{ userId: string }>(
        manager,
        `SELECT s.user_id AS "userId" FROM sessions s JOIN users u ON u.id = s.user_id
         WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > now() AND u.disabled_at IS NULL FOR SHARE`,
        [used[0].sessionId],
      );
      if (!session) throw wrongRefresh();
      return { ...session, ...used[0], refreshToken: await addRefreshToken(manager, used[0].sessionId) };
    });
    if (!renewed) return this.endStolen(hash, origin);
    const { userId, sessionId, refreshToken } = renewed;
    return this.tokensOf(userId, sessionId, refreshToken);
  }

  /** Ends the session of a login; its tokens are worth nothing from now on. */
  async logout(principal: Principal, origin: Origin): Promise<void> {
    const sessionId = sessionOf(principal);
    await this.source.transaction(async (manager) => {
      await manager.query('UPDATE sessions SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL', [
        sessionId,
      ]);
      const event = {
        action: 'session.logout',
        result: 'ok',
        target: { kind: 'session', id: sessionId },
      } as const;
      await this.audit.record({ ...eventOf(origin, principal), ...event }, manager);
    });
    this.changed();
  }

  /**
   * Sets another password and ends all other sessions of the user.
   *
   * @param next has passed `assertPassword`
   * @throws AppError INVALID_ARGUMENT when the current one is wrong; PERMISSION_DENIED when no login asks
   */
  async changePassword(principal: Principal, current: string, next: string, origin: Origin): Promise<void> {
    const sessionId = sessionOf(principal);
    const user = await this.findUser('id = $1', principal.id);
    const event = { ...eventOf(origin, principal), action: 'user.password', target: targetOf(principal) };
    if (!user || !(await verifyPassword(user.hash, current))) {
      await this.audit.record({ ...event, result: 'refused' });
      throw new AppError('INVALID_ARGUMENT', 'current_password is wrong.', {
        details: [{ field: 'current_password', allowed: 'the password in force' }],
      });
    }
    const hash = await hashPassword(next);
    await this.source.transaction(async (manager) => {
      await setPassword(manager, user.id, hash, sessionId);
      await this.audit.record({ ...event, result: 'ok' }, manager);
    });
    this.changed();
  }

  private async findUser(where: string, value: string): Promise<User | undefined> {
    const [user] = await this.source.query<User[]>(
      `SELECT id, email, password_hash AS hash, disabled_at IS NOT NULL AS "isDisabled" FROM users WHERE ${where}`,
      [value],
    );
    return user;
  }

  /** Unless the password was changed or the user disabled while the old one was being verified. */
  private async openIfSame(user: User, origin: Origin): Promise<Tokens | undefined> {
    const opened = await this.source.transaction(async (manager) => {
      const [same] = await rowsOf(
        manager,
        'SELECT 1 FROM users WHERE id = $1 AND password_hash = $2 AND disabled_at IS NULL FOR SHARE',
        [user.id, user.hash],
      );
      if (!same) return undefined;
      const sessionId = await this.insert(manager, user, `${SESSION_DAYS} days`, origin, { by: 'password' });
      return { sessionId, refreshToken: await addRefreshToken(manager, sessionId) };
    });
    return opened && this.tokensOf(user.id, opened.sessionId, opened.refreshToken);
  }

  private async insert(
    manager: EntityManager,
    user: User,
    lifetime: string,
    origin: Origin,
    details: { by: string },
  ): Promise<string> {
    const id = randomUUID();
    await manager.query(
      `INSERT INTO sessions (id, user_id, remote_address, user_agent, expires_at)
       VALUES ($1, $2, $3, $4, now() + $5::interval)`,
      [
        id,
        user.id,
        origin.remoteAddress ?? '',
        (origin.userAgent ?? '').replaceAll('\0', '').slice(0, MAX_USER_AGENT),
        lifetime,
      ],
    );
    const target = { kind: 'user', id: user.id, name: user.email };
    const actor = await this.actor(user.id, user.email, manager);
    const event = { ...eventOf(origin, actor), action: 'session.login', target, details };
    await this.audit.record({ ...event, result: 'ok' }, manager);
    return id;
  }

  /** A user as the audit log knows one that has no session yet; undefined when it belongs to no organization with a tenant. */
  private async actor(
    id: string,
    name: string,
    manager: DataSource | EntityManager = this.source,
  ): Promise<Principal | undefined> {
    const [first] = await readReach(manager, [id]);
    return first && { ...first, kind: 'user', id, name, permissions: PERMISSIONS_OF_ROLE[first.role] };
  }

  private async endStolen(hash: Buffer, origin: Origin): Promise<never> {
    // Asked first: an UPDATE of nothing would grow the version, and guesses would make every process ask again.
    const [known] = await this.source.query<unknown[]>('SELECT 1 FROM refresh_tokens WHERE token_hash = $1', [
      hash,
    ]);
    if (!known) throw wrongRefresh();
    await this.source.transaction(async (manager) => {
      const [session] = await rowsOf<{ id: string; userId: string }>(
        manager,
        `UPDATE sessions SET revoked_at = coalesce(revoked_at, now())
         WHERE id = (SELECT session_id FROM refresh_tokens WHERE token_hash = $1) RETURNING id, user_id AS "userId"`,
        [hash],
      );
      const organizationId = (await this.actor(session.userId, '', manager))?.scope.organizationId;
      const target = { kind: 'session', id: session.id };
      const details = { reason: 'a refresh token came twice', user_id: session.userId };
      const event = {
        ...eventOf(origin, undefined),
        action: 'session.refresh',
        target,
        details,
        organizationId,
      };
      await this.audit.record({ ...event, result: 'refused' }, manager);
    });
    this.changed();
    throw wrongRefresh();
  }

  private async tokensOf(userId: string, sessionId: string, refreshToken: string): Promise<Tokens> {
    const accessToken = await this.tokens.sign(userId, sessionId, Date.now());
    return {
      access_token: accessToken,
      token_type: 'Bearer',
      expires_in: ACCESS_TOKEN_SECONDS,
      refresh_token: refreshToken,
    };
  }
}

function sessionOf({ sessionId }: Principal): string {
  if (sessionId !== undefined) return sessionId;
  throw new AppError('PERMISSION_DENIED', 'This is for logins; a key has no session.');
}

const targetOf = ({ id, name }: Principal) => ({ kind: 'user', id, name });

function eventOf(
  { remoteAddress, correlationId }: Origin,
  principal: Principal | undefined,
): Pick<AuditEvent, 'principal' | 'remoteAddress' | 'correlationId'> {
  return { principal, remoteAddress, correlationId };
}
