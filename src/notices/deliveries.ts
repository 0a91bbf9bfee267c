import { randomUUID } from 'node:crypto';
import type { DataSource, EntityManager } from 'typeorm';
import type { z } from 'zod';
import type { Scope } from '../edge/scope.js';
import type { NOTIFICATION } from '../jobs/declared.js';
import type { NewJob } from '../jobs/job-queue.js';
import { removeOldRows } from '../tenants/rows.js';
import { type Notice, notice as noticeSchema } from './notice.js';

type DeliveryJob = NewJob<z.output<typeof NOTIFICATION.payload>>;

/**
 * Writes down that a notice is to be told: a delivery for each channel that is the tenant's and enabled; others are passed
 * over. It belongs into the transaction of the change that is told, so that a crash leaves both or neither. After the commit
 * the caller adds the jobs (`firstJobs`) to the queue NOTIFICATION; when it does not get that far, the sweeper does.
 *
 * @returns ids of the deliveries; the same again for the same notice and channels
 * @throws ZodError when the notice is not one
 */
export async function addDeliveries(
  manager: EntityManager,
  scope: Scope,
  notice: Notice,
  channelIds: readonly string[],
): Promise<string[]> {
  const told = noticeSchema.parse(notice);
  const channels = [...new Set(channelIds)];
  const rows = await manager.query<{ id: string }[]>(
    `INSERT INTO notification_deliveries (id, tenant_id, notice_id, channel_id, channel_name, channel_kind, notice)
     SELECT given.id, tenant_id, $4::uuid, channels.id, channels.name, channels.kind, $5::jsonb
     FROM unnest($2::uuid[], $3::uuid[]) AS given (id, channel_id)
     JOIN notification_channels AS channels ON channels.id = given.channel_id
     WHERE tenant_id = $1 AND enabled
     ORDER BY channels.id
     ON CONFLICT (notice_id, channel_id) DO UPDATE SET notice_id = excluded.notice_id
     RETURNING id`,
    [scope.tenantId, channels.map(() => randomUUID()), channels, told.id, JSON.stringify(told)],
  );
  return rows.map(({ id }) => id);
}

/** Writes down a delivery that was made, or failed, without a job: that of a test. */
export async function addFinished(
  manager: EntityManager,
  scope: Scope,
  notice: Notice,
  channel: { id: string; name: string; kind: string },
  { id, sent, status, reason }: { id: string; sent: boolean; status: number | null; reason: string | null },
): Promise<void> {
  await manager.query(
    `INSERT INTO notification_deliveries (id, tenant_id, notice_id, channel_id, channel_name, channel_kind, notice, state, attempts,
       last_status, last_error, finished_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $10, now())`,
    [
      id,
      scope.tenantId,
      notice.id,
      channel.id,
      channel.name,
      channel.kind,
      JSON.stringify(noticeSchema.parse(notice)),
      sent ? 'sent' : 'failed',
      status,
      reason,
    ],
  );
}

/** The jobs that the deliveries of `addDeliveries` are sent by; adding them twice is adding them once. */
export function firstJobs(deliveryIds: readonly string[]): DeliveryJob[] {
  return deliveryIds.map((id) => ({ id, payload: { delivery_id: id } }));
}

/** The job of a later try. Its id is another one for each try made, since a job that is done or failed keeps its id for days. */
export function laterJob(deliveryId: string, attempts: number, delayMs = 0): DeliveryJob {
  return { id: `${deliveryId}.${attempts}`, payload: { delivery_id: deliveryId }, delayMs };
}

/**
 * Deliveries that are neither sent nor failed and that nobody has touched since `olderThan`, though they were due: the jobs of
 * these, which the caller adds, were lost. Of all tenants; the oldest first, 1000 at most.
 */
export async function pendingDeliveries(source: DataSource, olderThan: Date): Promise<DeliveryJob[]> {
  const rows = await source.query<{ id: string; attempts: number }[]>(
    `SELECT id, attempts FROM notification_deliveries
     WHERE state = 'pending' AND updated_at < $1 AND due_at < $1 AND (claimed_until IS NULL OR claimed_until < $1)
     ORDER BY updated_at LIMIT 1000`,
    [olderThan],
  );
  return rows.map(({ id, attempts }) => laterJob(id, attempts));
}

/** Forgets what was told, or could not be, before then: 1000 deliveries at most, of all tenants. @returns how many */
export function removeOldDeliveries(source: DataSource, before: Date): Promise<number> {
  return removeOldRows(source, { table: 'notification_deliveries', over: 'finished_at' }, before);
}

export const DELIVERY_STATES = ['pending', 'sent', 'failed'] as const;
export type DeliveryState = (typeof DELIVERY_STATES)[number];

/** How a notice fared: `none` when it was to be told to nobody, `pending` while a channel is still tried. */
export type NoticeOutcome = 'none' | 'pending' | 'all_sent' | 'some_failed' | 'all_failed';

export function outcomeOf(states: readonly DeliveryState[]): NoticeOutcome {
  if (states.length === 0) return 'none';
  if (states.includes('pending')) return 'pending';
  const failed = states.filter((state) => state === 'failed').length;
  if (failed === 0) return 'all_sent';
  return failed === states.length ? 'all_failed' : 'some_failed';
}

/** How one channel fared with a notice. */
export interface ChannelOutcome {
  delivery_id: string;
  channel_id: string;
  channel_name: string;
  channel_kind: string;
  state: DeliveryState;
  attempts: number;
  last_status: number | null;
  last_error: string | null;
  finished_at: Date | null;
}

/** How notices of this tenant fared, by notice id, with each of their channels; those without deliveries are not in it. */
export async function outcomesOf(
  scope: Scope,
  source: DataSource | EntityManager,
  noticeIds: readonly string[],
): Promise<Map<string, { outcome: NoticeOutcome; channels: ChannelOutcome[] }>> {
  const rows = await source.query<(ChannelOutcome & { notice_id: string })[]>(
    `SELECT notice_id, id AS delivery_id, channel_id, channel_name, channel_kind, state, attempts, last_status, last_error, finished_at
     FROM notification_deliveries WHERE tenant_id = $1 AND notice_id = ANY($2::uuid[])
     ORDER BY channel_name, channel_id`,
    [scope.tenantId, noticeIds],
  );
  const found = new Map<string, ChannelOutcome[]>();
  for (const { notice_id, ...channel } of rows)
    found.set(notice_id, [...(found.get(notice_id) ?? []), channel]);
  return new Map(
    [...found].map(([id, channels]) => [
      id,
      { outcome: outcomeOf(channels.map(({ state }) => state)), channels },
    ]),
  );
}
