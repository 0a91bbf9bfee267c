import { randomUUID } from 'node:crypto';
import type { DataSource, EntityManager } from 'typeorm';
import type { Scope } from '../edge/scope.js';
import { addFinished } from '../notices/deliveries.js';
import { withLinks } from '../notices/links.js';
import type { Notice } from '../notices/notice.js';
import type { Outside } from '../outbound/outside.js';
import { SendError } from '../outbound/send-error.js';
import { ask, notFound } from '../tenants/rows.js';
import type { OpenChannel } from './channel-rows.js';
import { KINDS } from './channel-settings.js';
import type { TestResult } from './notifications.schema.js';

const SUMMARY = 'This is a test message. If you can read it, the channel works.';

/**
 * Sends a test message to a channel, now and once.
 *
 * @param publicUrl of the settings
 * @returns what happened, and how to write that down as a delivery
 */
export async function tellTest(
  scope: Scope,
  source: DataSource,
  { channel, settings }: OpenChannel,
  outside: Outside,
  publicUrl: string | undefined,
): Promise<{ result: TestResult; write: (manager: EntityManager) => Promise<void> }> {
  const started = performance.now();
  const notice = withLinks(await testNotice(scope, source, Date.now()), publicUrl);
  const deliveryId = randomUUID();
  const message = { notice, channelId: channel.id, deliveryId, nowMs: Date.now() };
  let outcome: Pick<TestResult, 'sent' | 'status' | 'reason'>;
  try {
    if (!channel.secret_readable)
      throw new SendError('The channel’s secrets were encrypted under another SECRET_KEY.');
    const { status, remark } = await KINDS[channel.kind].send(
      settings,
      message,
      outside,
      outside.limit(new AbortController().signal),
    );
    outcome = { sent: true, status, reason: remark ?? null };
  } catch (error) {
    if (!(error instanceof SendError)) throw error;
    outcome = { sent: false, status: error.status ?? null, reason: error.message };
  }
  const elapsed_ms = Math.round(performance.now() - started);
  const result = { ...outcome, delivery_id: deliveryId, elapsed_ms };
  return {
    result,
    write: (manager) => addFinished(manager, scope, notice, channel, { id: deliveryId, ...outcome }),
  };
}

async function testNotice(scope: Scope, source: DataSource, nowMs: number): Promise<Notice> {
  const [names] = await ask<{ organization: string; workspace: string; tenant: string }>(
    source,
    `SELECT organizations.name AS organization, workspaces.name AS workspace, tenants.name AS tenant
     FROM tenants JOIN workspaces ON workspaces.id = tenants.workspace_id
     JOIN organizations ON organizations.id = workspaces.organization_id
     WHERE tenants.id = $1`,
    [scope.tenantId],
  );
  if (!names) throw notFound('tenant');
  return {
    id: randomUUID(),
    kind: 'test',
    severity: 'warning',
    organization: { id: scope.organizationId, name: names.organization },
    workspace: { id: scope.workspaceId, name: names.workspace },
    tenant: { id: scope.tenantId, name: names.tenant },
    at: new Date(nowMs).toISOString(),
    summary: SUMMARY,
    incidents: [],
  };
}
