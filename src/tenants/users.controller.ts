import { randomUUID } from 'node:crypto';
import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Patch, Post, Query } from '@nestjs/common';
import { DataSource, type EntityManager } from 'typeorm';
import type { z } from 'zod';
import { CurrentPrincipal } from '../edge/current-scope.js';
import { PERMISSIONS_OF_ROLE, type Principal, type Role } from '../edge/principal.js';
import { Requires } from '../edge/scope.guard.js';
import { AppError } from '../errors.js';
import { ApiRoute } from '../http/api-route.js';
import { parseBody, parseChange, parseQuery, type RawQuery } from '../http/request.schema.js';
import { member } from './answers.schema.js';
import { assertPassword, hashPassword } from './password.js';
import {
  ask,
  assertLogin,
  byAge,
  Changes,
  CurrentDoing,
  type Doing,
  differences,
  type List,
  listRows,
  readOne,
} from './rows.js';
import { memberBody, memberChange, membersQuery } from './users.schema.js';

/** A member of an organization. */
export interface Member {
  id: string;
  email: string;
  name: string;
  role: Role;
  disabled: boolean;
  /** When it became a member. */
  created_at: Date;
}

const COLUMNS = `users.id, users.email, users.name, memberships.role, users.disabled_at IS NOT NULL AS disabled,
  memberships.created_at`;
const MEMBERS = 'memberships JOIN users ON users.id = memberships.user_id';

/** The members of the organization that the login acts in. */
@Requires('admin')
@Controller('api/v1/users')
export class UsersController {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(Changes) private readonly changes: Changes,
  ) {}

  @ApiRoute({ summary: 'List members of the organization', query: membersQuery, list: member })
  @Get()
  list(@CurrentPrincipal() principal: Principal, @Query() raw: RawQuery) {
    assertLogin(principal);
    const list: List = {
      name: 'users',
      filters: {},
      columns: COLUMNS,
      from: MEMBERS,
      where: 'memberships.organization_id = $1',
      parameters: [principal.scope.organizationId],
      sortedBy: byAge('memberships', 'users.id'),
    };
    return listRows<Member>(principal.scope, this.source, () => list, parseQuery(membersQuery, raw));
  }

  @ApiRoute({ summary: 'Read a member', response: member })
  @Get(':id')
  read(@CurrentPrincipal() principal: Principal, @Param('id') id: string) {
    assertLogin(principal);
    return readMember(principal, this.source, id);
  }

  @ApiRoute({
    summary: 'Add a member',
    description: 'A user that other organizations know keeps its own name and password.',
    body: memberBody,
    response: member,
    errors: ['CONFLICT'],
  })
  @Post()
  async add(@CurrentDoing() doing: Doing, @Body() body: unknown) {
    assertLogin(doing.principal);
    const given = parseBody(memberBody, body);
    assertPassword(given.password);
    // Before the transaction, and whether the address is known or not: it takes tens of milliseconds.
    const passwordHash = await hashPassword(given.password);
    return addMember(doing, this.changes, given, passwordHash);
  }

  /** Whoever may read may change its own name; `changeMember` looks at the rest. */
  @Requires('read')
  @ApiRoute({
    summary: 'Change a member',
    description: 'What is not its own name takes the role admin, or owner where an owner is touched.',
    body: memberChange.partial(),
    response: member,
    errors: ['CONFLICT'],
  })
  @Patch(':id')
  change(@CurrentDoing() doing: Doing, @Param('id') id: string, @Body() body: unknown) {
    assertLogin(doing.principal);
    return changeMember(doing, this.changes, id, parseChange(memberChange, body));
  }

  @ApiRoute({ summary: 'Remove a member', status: 204, errors: ['CONFLICT'] })
  @Delete(':id')
  @HttpCode(204)
  remove(@CurrentDoing() doing: Doing, @Param('id') id: string) {
    assertLogin(doing.principal);
    return removeMember(doing, this.changes, id);
  }
}

async function readMember(
  { scope }: Principal,
  source: DataSource | EntityManager,
  id: string,
  forChange = false,
): Promise<Member> {
  const sql = `SELECT ${COLUMNS} FROM ${MEMBERS} WHERE memberships.organization_id = $1 AND users.id = $2
     ${forChange ? 'FOR UPDATE OF users' : ''}`;
  return readOne(source, 'user', id, sql, [scope.organizationId]);
}

/**
 * The caller's role as it is now. The organization is locked, so that no role in it changes until the end of the transaction:
 * that there is always an owner could not be decided otherwise.
 */
async function lockRoles({ scope, id }: Principal, manager: EntityManager): Promise<Role> {
  await ask(manager, 'SELECT 1 FROM organizations WHERE id = $1 FOR UPDATE', [scope.organizationId]);
  const sql = 'SELECT role FROM memberships WHERE organization_id = $1 AND user_id = $2';
  const [membership] = await ask<{ role: Role }>(manager, sql, [scope.organizationId, id]);
  if (!membership) throw new AppError('PERMISSION_DENIED', 'This login is no longer a member here.');
  return membership.role;
}

/** @param touched roles that the change takes, gives, or belongs to */
function assertMayChange(own: Role, ...touched: (Role | undefined)[]): void {
  if (!PERMISSIONS_OF_ROLE[own].has('admin'))
    throw new AppError('PERMISSION_DENIED', `This takes the role admin here; yours is ${own}.`);
  if (own !== 'owner' && touched.includes('owner'))
    throw new AppError('PERMISSION_DENIED', 'Only an owner makes, changes or removes an owner.');
}

/** @throws AppError CONFLICT when nobody else could act as owner */
async function assertOtherOwner({ scope }: Principal, manager: EntityManager, id: string): Promise<void> {
  const sql = `SELECT 1 FROM ${MEMBERS} WHERE memberships.organization_id = $1 AND memberships.role = 'owner'
    AND users.disabled_at IS NULL AND users.id <> $2 LIMIT 1`;
  if ((await ask(manager, sql, [scope.organizationId, id])).length > 0) return;
  throw new AppError('CONFLICT', 'This is the last owner; make another member an owner first.');
}

/** Whether a user is a member of other organizations too. Its row is locked, so that it joins none meanwhile. */
async function belongsElsewhere({ scope }: Principal, manager: EntityManager, id: string): Promise<boolean> {
  const sql = 'SELECT 1 FROM memberships WHERE user_id = $1 AND organization_id <> $2 LIMIT 1';
  return (await ask(manager, sql, [id, scope.organizationId])).length > 0;
}

type NewMember = z.output<typeof memberBody>;

/**
 * Makes a user, or makes one that is there already a member; its password and name stay its own then. The answer is what was
 * asked for, the same either way: an address says nothing of whether other organizations know it.
 *
 * @throws AppError CONFLICT when it is a member of this organization already
 */
function addMember(doing: Doing, changes: Changes, given: NewMember, passwordHash: string): Promise<Member> {
  const { email, name, role } = given;
  const { organizationId } = doing.principal.scope;
  return changes.run(doing, async (manager, note) => {
    assertMayChange(await lockRoles(doing.principal, manager), role);
    const id = await findOrMakeUser(manager, given, passwordHash);
    const [joined] = await ask<{ created_at: Date }>(
      manager,
      `INSERT INTO memberships (user_id, organization_id, role) VALUES ($1, $2, $3)
       ON CONFLICT DO NOTHING RETURNING created_at`,
      [id, organizationId, role],
    );
    if (!joined) throw new AppError('CONFLICT', 'This address belongs to a member already.');
    const target = { kind: 'user', id, name: email };
    const details = { after: { email, role } };
    await note({ action: 'user.create', organizationId, tenantId: null, target, details });
    return { id, email, name, role, disabled: false, created_at: joined.created_at };
  });
}

async function findOrMakeUser(
  manager: EntityManager,
  { email, name }: NewMember,
  passwordHash: string,
): Promise<string> {
  const make = `INSERT INTO users (id, email, name, password_hash) VALUES ($1, $2, $3, $4)
    ON CONFLICT ((lower(email))) DO NOTHING RETURNING id`;
  const find = 'SELECT id FROM users WHERE lower(email) = lower($1) FOR SHARE';
  // Between the two another organization may remove the user as its last member.
  for (;;) {
    const id = randomUUID();
    const made = await ask<{ id: string }>(manager, make, [id, email, name, passwordHash]);
    const [user] = made.length > 0 ? made : await ask<{ id: string }>(manager, find, [email]);
    if (user) return user.id;
  }
}

type MemberChange = Partial<z.output<typeof memberChange>>;

/**
 * @throws AppError NOT_FOUND when it is no member here, PERMISSION_DENIED, or CONFLICT when it is the last owner, or when its
 *   name or state are not this organization's alone to change
 */
function changeMember(doing: Doing, changes: Changes, id: string, given: MemberChange): Promise<Member> {
  const { principal } = doing;
  return changes.run(doing, async (manager, note) => {
    const own = await lockRoles(principal, manager);
    const member = await readMember(principal, manager, id, true);
    const changed = differences<MemberChange>(member, given);
    const isSelf = member.id === principal.id;
    if (!isSelf || 'role' in given || 'disabled' in given) assertMayChange(own, member.role, given.role);
    if (!changed) return member;
    const foreign = 'disabled' in changed || (!isSelf && 'name' in changed);
    if (foreign && (await belongsElsewhere(principal, manager, id)))
      throw new AppError(
        'CONFLICT',
        'This account is not of this organization alone; it can only be removed here.',
      );
    const stopsOwning = ('role' in changed && given.role !== 'owner') || given.disabled === true;
    if (member.role === 'owner' && stopsOwning) await assertOtherOwner(principal, manager, id);
    await writeMember(principal, manager, id, { ...member, ...given });
    const { organizationId } = principal.scope;
    const target = { kind: 'user', id: member.id, name: member.email };
    await note({
      action: 'user.update',
      organizationId,
      tenantId: null,
      target,
      details: { changes: changed },
    });
    return readMember(principal, manager, id);
  });
}

async function writeMember({ scope }: Principal, manager: EntityManager, id: string, member: Member) {
  await ask(
    manager,
    'UPDATE memberships SET role = $3 WHERE organization_id = $1 AND user_id = $2 AND role <> $3',
    [scope.organizationId, id, member.role],
  );
  await ask(
    manager,
    `UPDATE users SET name = $2, disabled_at = CASE WHEN $3 THEN coalesce(disabled_at, now()) END WHERE id = $1`,
    [id, member.name, member.disabled],
  );
}

/** Ends a membership; a user without any is deleted. @throws AppError as `changeMember` */
function removeMember(doing: Doing, changes: Changes, id: string): Promise<void> {
  const { principal } = doing;
  const { organizationId } = principal.scope;
  return changes.run(doing, async (manager, note) => {
    const own = await lockRoles(principal, manager);
    const member = await readMember(principal, manager, id, true);
    assertMayChange(own, member.role);
    if (member.role === 'owner') await assertOtherOwner(principal, manager, id);
    const last = !(await belongsElsewhere(principal, manager, id));
    const sql = 'DELETE FROM memberships WHERE organization_id = $1 AND user_id = $2';
    await ask(manager, sql, [organizationId, member.id]);
    if (last) await ask(manager, 'DELETE FROM users WHERE id = $1', [member.id]);
    const target = { kind: 'user', id: member.id, name: member.email };
    const details = { before: { email: member.email, name: member.name, role: member.role } };
    await note({ action: 'user.delete', organizationId, tenantId: null, target, details });
  });
}
