import type { z } from 'zod';
import type { CLEANUP } from '../jobs/declared.js';
import type { Repeat, RunningJob } from '../jobs/job-queue.js';
import { type DataType, type Owners, Retention, type RetentionDays } from '../retention.js';
import { AGING_TABLES, countRows, listPartitions, type Partition } from './aging-tables.js';
import { type Expiry, type Gone, sumRows } from './expiry.js';
import { readOverrides } from './retention-rows.js';
import { expiredForAll, keepTtl } from './table-ttl.js';

export type CleanupPayload = z.infer<(typeof CLEANUP)['payload']>;

/** Each night at two (UTC), when the day before is rolled up. */
export const CLEANUP_REPEAT: Repeat & { payload: CleanupPayload } = {
  key: 'daily',
  cron: '0 0 2 * * *',
  payload: { data_type: 'all' },
};

export interface CleanupRun {
  dataType: CleanupPayload['data_type'];
  nowMs: number;
  signal?: AbortSignal;
  progress?(share: number): Promise<void>;
}

/** What went, or would. */
export interface Deleted {
  organization_id: string;
  workspace_id: string;
  tenant_id: string;
  data_type: DataType;
  rows: number;
}
export interface CleanedUp {
  deleted: Deleted[];
  rows: number;
  /** Dropped whole. */
  partitions: number;
  /** On disk, of those. */
  bytes: number;
}

/**
 * Drops what has outlived its retention. A day (of rollups: a month) goes when its last moment has: so rows live up to a day (a month)
 * longer than is said, and each partition is touched once for each different retention in it.
 *
 * It may run at any time and any number of times, and be cut off anywhere; the next run goes on.
 *
 * @throws ClickHouseError when the store is away or refuses; the signal's reason when it fires
 */
export function cleanUp(expiry: Expiry, defaults: RetentionDays, run: CleanupRun): Promise<CleanedUp> {
  const { source } = expiry;
  return expiry.alone(async (gone) => {
    const retention = new Retention(defaults, (await readOverrides(source)).days);
    const due = await duePartitions(expiry, retention, run);
    for (const [at, { partition, owners }] of due.entries()) {
      const one = await expiry.expire(partition, owners, 'age', run.signal);
      if (one !== undefined) gone.push(one);
      await run.progress?.((at + 1) / due.length);
    }
    return sumUp(gone);
  }, run.signal);
}

/** What `cleanUp` would delete now. It changes nothing and waits for nobody. */
export async function lookWhatGoes(
  expiry: Expiry,
  defaults: RetentionDays,
  run: Pick<CleanupRun, 'dataType' | 'nowMs'>,
): Promise<CleanedUp> {
  const retention = new Retention(defaults, (await readOverrides(expiry.source)).days);
  const gone: Gone[] = [];
  for (const { partition, owners } of await duePartitions(expiry, retention, run)) {
    const one = await lookAt(expiry, partition, owners);
    if (one !== undefined) gone.push(one);
  }
  return sumUp(gone);
}

async function duePartitions(
  { clickhouse }: Expiry,
  retention: Retention,
  { dataType, nowMs }: Pick<CleanupRun, 'dataType' | 'nowMs'>,
) {
  const tables = AGING_TABLES.filter(
    ({ dataTypes }) => dataType === 'all' || dataTypes.every((type) => type === dataType),
  );
  return (await listPartitions(clickhouse, tables)).flatMap((partition) => {
    const owners = dueOwners(partition, retention, nowMs);
    return owners === undefined ? [] : [{ partition, owners }];
  });
}

function dueOwners({ table, endMs }: Partition, retention: Retention, nowMs: number): Owners | undefined {
  if (table.dataType !== undefined) return retention.expired(table.dataType, endMs, nowMs);
  return endMs <= expiredForAll(table, retention, nowMs) ? { isExcept: true, tenantIds: [] } : undefined;
}

async function lookAt(
  { clickhouse }: Expiry,
  partition: Partition,
  owners: Owners,
): Promise<Gone | undefined> {
  const { table, rows, bytes } = partition;
  if (table.dataType === undefined) return { partition, isWhole: true, counts: [], bytes };
  const counts = await countRows(clickhouse, partition, owners);
  if (counts.length === 0) return undefined;
  return { partition, isWhole: sumRows(counts) === rows, counts, bytes };
}

function sumUp(gone: readonly Gone[]): CleanedUp {
  const deleted = new Map<string, Deleted>();
  for (const { partition, counts } of gone) {
    const data_type = partition.table.dataType!;
    for (const { scope, rows } of counts) {
      const { organizationId: organization_id, workspaceId: workspace_id, tenantId: tenant_id } = scope;
      const key = JSON.stringify([organization_id, workspace_id, tenant_id, data_type]);
      const before = deleted.get(key)?.rows ?? 0;
      deleted.set(key, { organization_id, workspace_id, tenant_id, data_type, rows: before + rows });
    }
  }
  const whole = gone.filter(({ isWhole }) => isWhole);
  return {
    deleted: [...deleted.values()],
    rows: [...deleted.values()].reduce((sum, { rows }) => sum + rows, 0),
    partitions: whole.length,
    bytes: whole.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

/** Works off the jobs of CLEANUP. */
export class CleanupWorker {
  constructor(
    private readonly expiry: Expiry,
    private readonly defaults: RetentionDays,
    /** Whether tables have a TTL as the backstop (docs/decisions/retention.md). */
    private readonly hasTtl: boolean,
  ) {}

  /** @returns counts of what was deleted */
  readonly handle = (job: RunningJob<CleanupPayload>): Promise<CleanedUp> =>
    this.run({
      dataType: job.payload.data_type,
      nowMs: Date.now(),
      signal: job.signal,
      progress: (share) => job.progress(share),
    });

  look(run: Pick<CleanupRun, 'dataType' | 'nowMs'>): Promise<CleanedUp> {
    return lookWhatGoes(this.expiry, this.defaults, run);
  }

  async run(run: CleanupRun): Promise<CleanedUp> {
    const startedAtMs = performance.now();
    await this.keepTtl('raise');
    const done = await cleanUp(this.expiry, this.defaults, run);
    if (run.dataType === 'all') await this.keepTtl('any');
    const { deleted, rows, partitions, bytes } = done;
    const ms = Math.round(performance.now() - startedAtMs);
    this.expiry.log.info({ rows, partitions, bytes, deleted, ms }, 'What was too old is deleted');
    return done;
  }

  /** @param change as `keepTtl` in table-ttl.ts */
  async keepTtl(change: 'raise' | 'any'): Promise<void> {
    if (!this.hasTtl) return;
    const { clickhouse, source, log } = this.expiry;
    const retention = new Retention(this.defaults, (await readOverrides(source)).days);
    await keepTtl(clickhouse, retention, change, log);
  }
}
