import type { Permission } from '../../src/edge/principal.js';

/** Kinds of things that have ids: each has an owner, and is absent for everyone else. */
export type Thing =
  | 'organization'
  | 'workspace'
  | 'tenant'
  | 'user'
  | 'key'
  | 'trace'
  | 'channel'
  | 'rule'
  | 'incident'
  | 'silence'
  | 'dashboard';

/** What is expected of an operation of `/docs-json`. */
export interface Row {
  /** The permission that it takes; `nothing`: it is public. */
  takes: Permission | 'nothing';
  /** The kind of id that it is asked with: in place of `{...}` in path, query and body. */
  of?: Thing;
  /** What someone else's id does in a filter: it finds nothing, where in other places it is 404. */
  filters?: true;
  query?: string;
  /** A body that would do, with `{id}` where the id goes. */
  body?: object;
  /** A change that takes the role admin in the thing's organization, whatever permission lets it in. */
  byAdmin?: true;
  /** It answers with what OTLP brought in: a row for each item, or fewer that sum them up. */
  data?: 'items' | 'sums';
  /** Its answer does not end by itself. */
  endless?: true;
  /** It is the program's own, and for admins of the organization that the first start made alone. */
  operators?: true;
  /** It answers with the program's own figures, in which no id of anything is. */
  figures?: true;
}

const name = 'not yours';
const member = { email: 'new@example.com', password: 'long enough for all', role: 'viewer' };
const metric = 'metric=test.metric';
const rule = { name, query: { signal: 'logs' }, warning: 1 };
const silence = { matchers: [], comment: name, ends_at: '2100-01-01T00:00:00Z' };

/** Every operation of the program, once. */
export const ROUTES: Readonly<Record<string, Row>> = {
  'post /v1/traces': { takes: 'ingest' },
  'post /v1/logs': { takes: 'ingest' },
  'post /v1/metrics': { takes: 'ingest' },

  'get /api/v1/services': { takes: 'read', data: 'sums' },
  'get /api/v1/operations': { takes: 'read', data: 'sums' },
  'get /api/v1/operations/series': { takes: 'read', data: 'sums' },
  'get /api/v1/service-map': { takes: 'read', data: 'sums' },
  'get /api/v1/logs': { takes: 'read', data: 'items' },
  'get /api/v1/logs/tail': { takes: 'read', endless: true },
  'get /api/v1/traces': { takes: 'read', data: 'items' },
  'get /api/v1/traces/{trace_id}': { takes: 'read', of: 'trace' },
  'get /api/v1/metrics': { takes: 'read', data: 'sums' },
  'get /api/v1/metrics/points': { takes: 'read', data: 'items', query: metric },
  'get /api/v1/metrics/query': { takes: 'read', data: 'sums', query: metric },

  'get /api/v1/organizations': { takes: 'read' },
  'post /api/v1/organizations': { takes: 'read', body: { name }, byAdmin: true },
  'get /api/v1/organizations/{id}': { takes: 'read', of: 'organization' },
  'patch /api/v1/organizations/{id}': { takes: 'read', of: 'organization', body: { name }, byAdmin: true },
  'delete /api/v1/organizations/{id}': { takes: 'read', of: 'organization', byAdmin: true },

  'get /api/v1/workspaces': {
    takes: 'read',
    of: 'organization',
    query: 'organization_id={id}',
    filters: true,
  },
  'post /api/v1/workspaces': {
    takes: 'read',
    of: 'organization',
    body: { organization_id: '{id}', name },
    byAdmin: true,
  },
  'get /api/v1/workspaces/{id}': { takes: 'read', of: 'workspace' },
  'patch /api/v1/workspaces/{id}': { takes: 'read', of: 'workspace', body: { name }, byAdmin: true },
  'delete /api/v1/workspaces/{id}': { takes: 'read', of: 'workspace', byAdmin: true },

  'get /api/v1/tenants': { takes: 'read', of: 'workspace', query: 'workspace_id={id}', filters: true },
  'post /api/v1/tenants': {
    takes: 'read',
    of: 'workspace',
    body: { workspace_id: '{id}', name },
    byAdmin: true,
  },
  'get /api/v1/tenants/{id}': { takes: 'read', of: 'tenant' },
  'get /api/v1/tenants/{id}/retention': { takes: 'read', of: 'tenant' },
  'put /api/v1/tenants/{id}/retention': {
    takes: 'admin',
    of: 'tenant',
    body: { logs: { days: 7 } },
    byAdmin: true,
  },
  'patch /api/v1/tenants/{id}': { takes: 'read', of: 'tenant', body: { name }, byAdmin: true },
  'delete /api/v1/tenants/{id}': { takes: 'read', of: 'tenant', byAdmin: true },

  'get /api/v1/users': { takes: 'admin' },
  'post /api/v1/users': { takes: 'admin', body: member },
  'get /api/v1/users/{id}': { takes: 'admin', of: 'user' },
  'patch /api/v1/users/{id}': { takes: 'read', of: 'user', body: { role: 'viewer' }, byAdmin: true },
  'delete /api/v1/users/{id}': { takes: 'admin', of: 'user' },

  'get /api/v1/api-keys': { takes: 'admin', of: 'tenant', query: 'tenant_id={id}' },
  'post /api/v1/api-keys': {
    takes: 'admin',
    of: 'tenant',
    body: { tenant_id: '{id}', name, permissions: ['read'] },
  },
  'get /api/v1/api-keys/{id}': { takes: 'admin', of: 'key' },
  'patch /api/v1/api-keys/{id}': { takes: 'admin', of: 'key', body: { name } },
  'delete /api/v1/api-keys/{id}': { takes: 'admin', of: 'key' },

  'get /api/v1/notification-channels': { takes: 'read' },
  'post /api/v1/notification-channels': { takes: 'write', body: { name, kind: 'slack', settings: {} } },
  'get /api/v1/notification-channels/{id}': { takes: 'read', of: 'channel' },
  'patch /api/v1/notification-channels/{id}': { takes: 'write', of: 'channel', body: { name } },
  'delete /api/v1/notification-channels/{id}': { takes: 'write', of: 'channel' },
  'post /api/v1/notification-channels/{id}/test': { takes: 'write', of: 'channel' },
  'get /api/v1/notification-deliveries': {
    takes: 'read',
    of: 'channel',
    query: 'channel_id={id}',
    filters: true,
  },

  'get /api/v1/dashboards': { takes: 'read' },
  'post /api/v1/dashboards': { takes: 'write', body: { name, panels: [] } },
  'get /api/v1/dashboards/{id}': { takes: 'read', of: 'dashboard' },
  'patch /api/v1/dashboards/{id}': { takes: 'write', of: 'dashboard', body: { name } },
  'delete /api/v1/dashboards/{id}': { takes: 'write', of: 'dashboard' },

  'get /api/v1/alerts/rules': { takes: 'read' },
  'post /api/v1/alerts/rules': { takes: 'write', body: rule },
  'post /api/v1/alerts/rules/test': { takes: 'read', body: { rule, hours: 1 } },
  'get /api/v1/alerts/rules/{id}': { takes: 'read', of: 'rule' },
  'patch /api/v1/alerts/rules/{id}': { takes: 'write', of: 'rule', body: { warning: 2 } },
  'delete /api/v1/alerts/rules/{id}': { takes: 'write', of: 'rule' },
  'post /api/v1/alerts/rules/{id}/test': { takes: 'read', of: 'rule', body: { hours: 1 } },
  'get /api/v1/alerts/incidents': { takes: 'read', of: 'rule', query: 'rule_id={id}', filters: true },
  'get /api/v1/alerts/incidents/{id}': { takes: 'read', of: 'incident' },
  'post /api/v1/alerts/incidents/{id}/acknowledge': { takes: 'write', of: 'incident' },
  'post /api/v1/alerts/incidents/{id}/resolve': { takes: 'write', of: 'incident' },
  'get /api/v1/alerts/silences': { takes: 'read' },
  'post /api/v1/alerts/silences': { takes: 'write', body: silence },
  'get /api/v1/alerts/silences/{id}': { takes: 'read', of: 'silence' },
  'delete /api/v1/alerts/silences/{id}': { takes: 'write', of: 'silence' },

  'get /api/v1/audit': { takes: 'admin', of: 'tenant', query: 'target=tenant/{id}', filters: true },

  'get /api/v1/ledger': { takes: 'read', data: 'sums' },

  'post /api/v1/cleanup': { operators: true, takes: 'admin', body: { dry_run: true } },

  'get /api/v1/cache': { takes: 'admin', figures: true },
  'delete /api/v1/cache': { takes: 'admin', query: 'pattern=metrics:*' },

  'get /api/v1/queues': { takes: 'admin', operators: true },
  'get /api/v1/queues/{name}': { takes: 'admin', operators: true },
  'post /api/v1/queues/{name}/pause': { takes: 'admin', operators: true },
  'post /api/v1/queues/{name}/resume': { takes: 'admin', operators: true },
  'post /api/v1/queues/{name}/retry-failed': { takes: 'admin', operators: true, body: {} },
  'post /api/v1/queues/{name}/drop-failed': { takes: 'admin', operators: true, body: { all: true } },

  'get /api/v1/auth/me': { takes: 'read' },
  'post /api/v1/auth/logout': { takes: 'read' },
  'post /api/v1/auth/password': {
    takes: 'read',
    body: { current_password: 'wrong', new_password: 'long enough for all' },
  },
  'post /api/v1/auth/login': { takes: 'nothing' },
  'post /api/v1/auth/refresh': { takes: 'nothing' },
  'get /login': { takes: 'nothing' },

  'get /health/live': { takes: 'nothing' },
  'get /health/ready': { takes: 'nothing' },
  'get /metrics': { takes: 'nothing' },
  'get /docs': { takes: 'nothing' },
  'get /docs-json': { takes: 'nothing' },
  'get /docs/{file}': { takes: 'nothing' },
};
