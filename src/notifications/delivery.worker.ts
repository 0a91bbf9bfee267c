import type { Logger } from 'pino';
import type { DataSource } from 'typeorm';
import { PermanentError } from '../errors.js';
import { reach } from '../failpoints.js';
import { NOTIFICATION } from '../jobs/declared.js';
import type { JobQueues, RunningJob } from '../jobs/job-queue.js';
import { laterJob, pendingDeliveries, removeOldDeliveries } from '../notices/deliveries.js';
import type { DeliveryMetrics } from '../notices/delivery-metrics.js';
import { withLinks } from '../notices/links.js';
import type { Notice } from '../notices/notice.js';
import type { Outside } from '../outbound/outside.js';
import { SendError } from '../outbound/send-error.js';
import type { SecretBox } from '../secret-box.js';
import type { Taken } from './channel-kind.js';
import { CHANNEL_COLUMNS, type ChannelRow, openRow } from './channel-rows.js';
import { KINDS } from './channel-settings.js';

/** Longer than a message may take: until then nobody else sends it. */
const CLAIM = "interval '60 seconds'";
const SWEEP_EVERY_MS = 15_000;
/** Longer than the pauses between tries: a delivery that nobody touched for so long has lost its job. */
const LOST_AFTER_MS = 60_000;
const KEPT_MS = 90 * 86_400_000;
const MIN_PAUSE_MS = 1000;

/** What a delivery's job leaves behind. `skipped`: it is sent already, or another job is at it. */
export type Delivered =
  | { state: 'sent'; status: number }
  | { state: 'deferred'; retry_after_ms: number }
  | { state: 'skipped' };

interface Claimed {
  id: string;
  tenant_id: string;
  channel_id: string;
  channel_kind: string;
  notice: Notice;
  attempts: number;
}

interface Parts {
  source: DataSource;
  box: SecretBox;
  outside: Outside;
  queues: Pick<JobQueues, 'addAll'>;
  log: Logger;
  metrics: DeliveryMetrics;
  /** Of the queue NOTIFICATION. */
  tries: number;
  /** Of the settings: what links in messages begin with; undefined: there are none. */
  publicUrl: string | undefined;
}

/**
 * Sends deliveries. One delivery is one notice to one channel, so that a channel that worked is left alone while another is
 * tried again; its row, and not the queue, counts the tries, because jobs of it may be several.
 */
export class DeliveryWorker {
  private timer: NodeJS.Timeout | undefined;
  private sweeping: Promise<void> = Promise.resolve();

  constructor(private readonly parts: Parts) {}

  /** Begins to look for deliveries without a job. */
  start(): void {
    this.timer = setInterval(() => {
      this.sweeping = this.sweeping.then(() => this.sweep(Date.now()));
    }, SWEEP_EVERY_MS).unref();
  }

  /** Looks for no more. */
  async stop(): Promise<void> {
    clearInterval(this.timer);
    await this.sweeping;
  }

  /**
   * Sends one delivery, unless that is done. After the last try it is `failed`, until the failed job is retried by hand.
   *
   * @throws Error when it is to be tried again, PermanentError when it is not
   */
  async deliver(
    job: Pick<RunningJob<{ delivery_id: string }>, 'id' | 'payload' | 'signal'>,
  ): Promise<Delivered> {
    const claimed = await this.claim(job.payload.delivery_id, job.id);
    if (!claimed) return { state: 'skipped' };
    reach('delivery-claimed');
    let taken: Taken;
    try {
      taken = await this.send(claimed, job.signal);
    } catch (error) {
      return this.failed(claimed, job.id, error, job.signal.aborted);
    }
    reach('delivery-sent');
    await this.finish(claimed, job.id, 'sent', taken.status, taken.remark);
    reach('delivery-noted');
    return { state: 'sent', status: taken.status };
  }

  /** Gives deliveries that lost their job a new one, and forgets those that ended long ago. A fault is logged. */
  async sweep(nowMs: number): Promise<void> {
    const { source, queues, log } = this.parts;
    try {
      const jobs = await pendingDeliveries(source, new Date(nowMs - LOST_AFTER_MS));
      if (jobs.length > 0) await queues.addAll(NOTIFICATION, jobs);
      await removeOldDeliveries(source, new Date(nowMs - KEPT_MS));
    } catch (error) {
      log.error({ err: error }, 'Deliveries without a job could not be looked for; that is done again soon.');
    }
  }

  /**
   * Takes a delivery for this job, which counts as a try. The job that failed it for good takes it from the beginning: somebody
   * had it retried.
   */
  private async claim(deliveryId: string, jobId: string): Promise<Claimed | undefined> {
    const sql = `WITH claimed AS (
        UPDATE notification_deliveries
        SET state = 'pending', attempts = CASE state WHEN 'failed' THEN 1 ELSE attempts + 1 END, finished_at = NULL,
          claimed_by = $2, claimed_until = now() + ${CLAIM}, updated_at = now()
        WHERE id = $1 AND (
          (state = 'pending' AND due_at <= now() + interval '1 second'
            AND (claimed_until IS NULL OR claimed_until < now() OR claimed_by = $2))
          OR (state = 'failed' AND claimed_by = $2))
        RETURNING id, tenant_id, channel_id, channel_kind, notice, attempts)
      SELECT * FROM claimed`;
    const [claimed] = await this.parts.source.query<Claimed[]>(sql, [deliveryId, jobId]);
    return claimed;
  }

  private async send({ id, tenant_id, channel_id, notice }: Claimed, stop: AbortSignal): Promise<Taken> {
    const { source, box, outside, publicUrl } = this.parts;
    const sql = `SELECT ${CHANNEL_COLUMNS} FROM notification_channels WHERE tenant_id = $1 AND id = $2`;
    const [row] = await source.query<ChannelRow[]>(sql, [tenant_id, channel_id]);
    if (!row) throw new SendError('The channel was deleted.', { isPermanent: true });
    if (!row.enabled) throw new SendError('The channel is turned off.', { isPermanent: true });
    const { channel, settings } = openRow(box, row);
    if (!channel.secret_readable)
      throw new SendError(
        'The channel’s secrets were encrypted under another SECRET_KEY than this process has.',
      );
    const linked = withLinks(notice, publicUrl);
    const message = { notice: linked, channelId: channel_id, deliveryId: id, nowMs: Date.now() };
    return KINDS[row.kind].send(settings, message, outside, outside.limit(stop));
  }

  private async failed(
    claimed: Claimed,
    jobId: string,
    error: unknown,
    isStopped: boolean,
  ): Promise<Delivered> {
    const { queues, log, tries, metrics } = this.parts;
    const { id, attempts } = claimed;
    // What is not a SendError is a fault of ours, whose text is for the log alone.
    const fault =
      error instanceof SendError ? error : new SendError('The sending failed inside.', { cause: error });
    const { status, message, retryAfterMs } = fault;
    if (isStopped) {
      await this.release(id, jobId, -1, 0, status, message);
      throw new Error(message);
    }
    const about = { delivery: id, channel: claimed.channel_id, attempt: attempts, status, reason: message };
    if (fault === error) log.warn(about, 'A notification did not get through.');
    else log.error({ ...about, err: error }, 'A notification could not be sent.');
    if (fault.isPermanent || attempts >= tries) {
      await this.finish(claimed, jobId, 'failed', status, message);
      throw new PermanentError(message);
    }
    metrics.tried(claimed.channel_kind, 'retried');
    if (retryAfterMs === undefined) {
      await this.release(id, jobId, 0, 0, status, message);
      reach('delivery-released');
      throw new Error(message);
    }
    const pauseMs = Math.max(retryAfterMs, MIN_PAUSE_MS);
    await this.release(id, jobId, 0, pauseMs, status, message);
    reach('delivery-deferred');
    await queues.addAll(NOTIFICATION, [laterJob(id, attempts, pauseMs)]);
    reach('delivery-postponed');
    return { state: 'deferred', retry_after_ms: pauseMs };
  }

  private async finish(
    { id, channel_kind }: Claimed,
    jobId: string,
    state: 'sent' | 'failed',
    status: number | undefined,
    text: string | undefined,
  ): Promise<void> {
    await this.parts.source.query(
      `UPDATE notification_deliveries SET state = $3, last_status = $4, last_error = $5, claimed_until = NULL,
         updated_at = now(), finished_at = now()
       WHERE id = $1 AND claimed_by = $2`,
      [id, jobId, state, status ?? null, text ?? null],
    );
    this.parts.metrics.tried(channel_kind, state);
  }

  /** Lets go of a delivery that is to be tried again, not before the pause is over. */
  private async release(
    id: string,
    jobId: string,
    attempts: number,
    pauseMs: number,
    status: number | undefined,
    text: string,
  ): Promise<void> {
    await this.parts.source.query(
      `UPDATE notification_deliveries SET attempts = attempts + $3, due_at = now() + $4 * interval '1 millisecond',
         last_status = $5, last_error = $6, claimed_until = NULL, updated_at = now()
       WHERE id = $1 AND claimed_by = $2`,
      [id, jobId, attempts, pauseMs, status ?? null, text],
    );
  }
}
