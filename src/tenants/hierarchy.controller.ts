import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Patch, Post, Query } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { z } from 'zod';
import { CurrentPrincipal } from '../edge/current-scope.js';
import type { Principal } from '../edge/principal.js';
import { Requires } from '../edge/scope.guard.js';
import { ApiRoute } from '../http/api-route.js';
import {
  about,
  nameField,
  pageFields,
  parseBody,
  parseChange,
  parseQuery,
  plain,
  type RawQuery,
} from '../http/request.schema.js';
import { organization, tenant, workspace } from './answers.schema.js';
import {
  changeThing,
  createOrganization,
  createTenant,
  createWorkspace,
  listThings,
  readThing,
  removeThing,
} from './hierarchy.js';
import { Changes, CurrentDoing, type Doing } from './rows.js';

const QUOTA = `a whole number from 1 to ${Number.MAX_SAFE_INTEGER}, or null for none`;
const quota = z.int({ error: QUOTA }).min(1, { error: QUOTA }).nullable();
/** An id of another thing: what could not be one is answered like one that is not there. */
const id = z.string({ error: 'an id' });

export const organizationBody = z.object({ name: nameField });
export const workspaceBody = z.object({ organization_id: id, name: nameField });
export const tenantBody = z.object({
  workspace_id: id,
  name: nameField,
  items_per_day: quota.optional(),
  bytes_per_day: quota.optional(),
});
const workspaceChange = workspaceBody.omit({ organization_id: true });
const tenantChange = tenantBody.omit({ workspace_id: true });

const organizationsQuery = z.object(pageFields);
const workspacesQuery = z.object({
  organization_id: about('Those of this organization', plain).optional(),
  ...pageFields,
});
const tenantsQuery = z.object({
  organization_id: about('Those of this organization', plain).optional(),
  workspace_id: about('Those of this workspace', plain).optional(),
  ...pageFields,
});

// Reading is what every member may; a change asks for the role in the thing's own organization, which need not be the one
// that the credential acts in.

@Requires('read')
@Controller('api/v1/organizations')
export class OrganizationsController {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(Changes) private readonly changes: Changes,
  ) {}

  @ApiRoute({ summary: 'List organizations', query: organizationsQuery, list: organization })
  @Get()
  list(@CurrentPrincipal() principal: Principal, @Query() raw: RawQuery) {
    return listThings(principal, this.source, 'organization', {}, parseQuery(organizationsQuery, raw));
  }

  @ApiRoute({ summary: 'Read an organization', response: organization })
  @Get(':id')
  read(@CurrentPrincipal() principal: Principal, @Param('id') id: string) {
    return readThing(principal, this.source, 'organization', id);
  }

  @ApiRoute({
    summary: 'Make an organization',
    description: 'Who makes it is its first owner. It takes the role owner or admin in some organization.',
    body: organizationBody,
    response: organization,
  })
  @Post()
  create(@CurrentDoing() doing: Doing, @Body() body: unknown) {
    return createOrganization(doing, this.changes, parseBody(organizationBody, body));
  }

  @ApiRoute({
    summary: 'Change an organization',
    description: 'It takes the role admin in the organization.',
    body: organizationBody.partial(),
    response: organization,
  })
  @Patch(':id')
  change(@CurrentDoing() doing: Doing, @Param('id') id: string, @Body() body: unknown) {
    return changeThing(doing, this.changes, 'organization', id, parseChange(organizationBody, body));
  }

  @ApiRoute({
    summary: 'Delete an organization',
    description: 'It takes the role owner, and that there is no workspace in it.',
    status: 204,
    errors: ['CONFLICT'],
  })
  @Delete(':id')
  @HttpCode(204)
  remove(@CurrentDoing() doing: Doing, @Param('id') id: string) {
    return removeThing(doing, this.changes, 'organization', id);
  }
}

@Requires('read')
@Controller('api/v1/workspaces')
export class WorkspacesController {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(Changes) private readonly changes: Changes,
  ) {}

  @ApiRoute({ summary: 'List workspaces', query: workspacesQuery, list: workspace })
  @Get()
  list(@CurrentPrincipal() principal: Principal, @Query() raw: RawQuery) {
    const { organization_id, ...page } = parseQuery(workspacesQuery, raw);
    return listThings(principal, this.source, 'workspace', { organization_id }, page);
  }

  @ApiRoute({ summary: 'Read a workspace', response: workspace })
  @Get(':id')
  read(@CurrentPrincipal() principal: Principal, @Param('id') id: string) {
    return readThing(principal, this.source, 'workspace', id);
  }

  @ApiRoute({
    summary: 'Make a workspace',
    description: 'It takes the role admin in the organization.',
    body: workspaceBody,
    response: workspace,
    errors: ['NOT_FOUND', 'CONFLICT'],
  })
  @Post()
  create(@CurrentDoing() doing: Doing, @Body() body: unknown) {
    return createWorkspace(doing, this.changes, parseBody(workspaceBody, body));
  }

  @ApiRoute({
    summary: 'Change a workspace',
    description: 'It takes the role admin in the organization.',
    body: workspaceChange.partial(),
    response: workspace,
    errors: ['CONFLICT'],
  })
  @Patch(':id')
  change(@CurrentDoing() doing: Doing, @Param('id') id: string, @Body() body: unknown) {
    return changeThing(doing, this.changes, 'workspace', id, parseChange(workspaceChange, body));
  }

  @ApiRoute({
    summary: 'Delete a workspace',
    description: 'It takes the role admin, and that there is no tenant in it.',
    status: 204,
    errors: ['CONFLICT'],
  })
  @Delete(':id')
  @HttpCode(204)
  remove(@CurrentDoing() doing: Doing, @Param('id') id: string) {
    return removeThing(doing, this.changes, 'workspace', id);
  }
}

@Requires('read')
@Controller('api/v1/tenants')
export class TenantsController {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(Changes) private readonly changes: Changes,
  ) {}

  @ApiRoute({ summary: 'List tenants', query: tenantsQuery, list: tenant })
  @Get()
  list(@CurrentPrincipal() principal: Principal, @Query() raw: RawQuery) {
    const { organization_id, workspace_id, ...page } = parseQuery(tenantsQuery, raw);
    return listThings(principal, this.source, 'tenant', { organization_id, workspace_id }, page);
  }

  @ApiRoute({ summary: 'Read a tenant', response: tenant })
  @Get(':id')
  read(@CurrentPrincipal() principal: Principal, @Param('id') id: string) {
    return readThing(principal, this.source, 'tenant', id);
  }

  @ApiRoute({
    summary: 'Make a tenant',
    description: 'It takes the role admin in the organization.',
    body: tenantBody,
    response: tenant,
    errors: ['NOT_FOUND', 'CONFLICT'],
  })
  @Post()
  create(@CurrentDoing() doing: Doing, @Body() body: unknown) {
    return createTenant(doing, this.changes, parseBody(tenantBody, body));
  }

  @ApiRoute({
    summary: 'Change a tenant',
    description: 'It takes the role admin in the organization.',
    body: tenantChange.partial(),
    response: tenant,
    errors: ['CONFLICT'],
  })
  @Patch(':id')
  change(@CurrentDoing() doing: Doing, @Param('id') id: string, @Body() body: unknown) {
    return changeThing(doing, this.changes, 'tenant', id, parseChange(tenantChange, body));
  }

  @ApiRoute({
    summary: 'Delete a tenant',
    description: 'It takes the role admin, and that no key opens it. The default tenant stays.',
    status: 204,
    errors: ['CONFLICT'],
  })
  @Delete(':id')
  @HttpCode(204)
  remove(@CurrentDoing() doing: Doing, @Param('id') id: string) {
    return removeThing(doing, this.changes, 'tenant', id);
  }
}
