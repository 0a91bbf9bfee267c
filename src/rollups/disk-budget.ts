import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type DiskUse, NEAR } from '../monitoring/disk-use.js';
import { DAY_MS } from '../retention.js';
import { AGING_TABLES, listPartitions, type Partition } from './aging-tables.js';
import type { Expiry } from './expiry.js';
import { type Overrides, readOverrides } from './retention-rows.js';

/** A look costs some milliseconds: it reads lists of parts, and rows of no table without a limit. */
const LOOK_EVERY_MS = 60_000;

type TenantLimit = Overrides['maxBytes'][number];

/** What the folder may hold; undefined: the store is on a server, or there is no limit. */
export interface FolderLimit {
  directory: string;
  limitBytes: number;
}

/**
 * Keeps the data within its limits: from 90 % on it warns, at 100 % the oldest days go before their time, counted like those that are too
 * old. The day that is being written stays, whatever it takes.
 */
export class DiskBudget {
  private timer: NodeJS.Timeout | undefined;
  private looking: Promise<void> = Promise.resolve();
  private readonly abort = new AbortController();
  /** What was warned of, so that it is said once. */
  private readonly warned = new Set<string>();

  constructor(
    private readonly expiry: Expiry,
    private readonly folder: FolderLimit | undefined,
    private readonly use: DiskUse,
  ) {}

  /** Looks now and from then on every minute. */
  start(): void {
    const look = async () => {
      this.looking = this.check(Date.now()).catch((error: unknown) => {
        if (!this.abort.signal.aborted)
          this.expiry.log.error({ err: error }, 'The limits of the data could not be checked');
      });
      await this.looking;
      if (!this.abort.signal.aborted) this.timer = setTimeout(() => void look(), LOOK_EVERY_MS).unref();
    };
    void look();
  }

  async stop(): Promise<void> {
    this.abort.abort();
    clearTimeout(this.timer);
    await this.looking;
  }

  /** One look, and what follows from it. @throws ClickHouseError */
  async check(nowMs: number): Promise<void> {
    const { maxBytes } = await readOverrides(this.expiry.source);
    let tenantsNearLimit = 0;
    for (const limit of maxBytes) if (await this.checkTenant(limit, nowMs)) tenantsNearLimit++;
    const folder = this.folder && (await this.checkFolder(this.folder, nowMs));
    this.use.set({ folder, tenantsNearLimit });
  }

  private async checkFolder({ directory, limitBytes }: FolderLimit, nowMs: number) {
    const partitions = await listPartitions(this.expiry.clickhouse);
    // Parts that merges have replaced go within minutes by themselves.
    const storedBytes = partitions.reduce((sum, { bytes }) => sum + bytes, 0);
    let usedBytes = storedBytes + (await sizeOf(directory, 'clickhouse'));
    this.warn('DISK_LIMIT', usedBytes, limitBytes, { directory });
    if (usedBytes < limitBytes) return { usedBytes, limitBytes };
    await this.expiry.alone(async () => {
      for (const partition of oldestFirst(partitions, nowMs)) {
        if (usedBytes < limitBytes) break;
        const owners = { isExcept: true, tenantIds: [] };
        const gone = await this.expiry.expire(partition, owners, 'disk_limit', this.abort.signal);
        usedBytes -= gone?.bytes ?? 0;
      }
    });
    if (usedBytes >= limitBytes)
      this.expiry.log.error({ usedBytes, limitBytes }, 'DISK_LIMIT cannot be kept: only today is left');
    return { usedBytes, limitBytes };
  }

  /** @returns whether it is near its limit */
  private async checkTenant(limit: TenantLimit, nowMs: number): Promise<boolean> {
    const { tenantId, dataType, maxBytes } = limit;
    const parts = await this.shares(limit);
    let usedBytes = parts.reduce((sum, { bytes }) => sum + bytes, 0);
    this.warn(`${tenantId} ${dataType}`, usedBytes, maxBytes, { tenant: tenantId, dataType });
    const isNear = usedBytes >= maxBytes * NEAR;
    if (usedBytes < maxBytes) return isNear;
    await this.expiry.alone(async () => {
      for (const { partition, bytes } of parts) {
        if (usedBytes < maxBytes || partition.endMs > nowMs) break;
        const owners = { isExcept: false, tenantIds: [tenantId] };
        await this.expiry.expire(partition, owners, 'tenant_limit', this.abort.signal);
        usedBytes -= bytes;
      }
    });
    return usedBytes >= maxBytes * NEAR;
  }

  /** About what of each partition is the tenant's: by its rows, as if all were of one size. The oldest first. */
  private async shares({ tenantId, dataType }: TenantLimit) {
    const { clickhouse } = this.expiry;
    const table = AGING_TABLES.find((one) => one.dataType === dataType)!;
    const partitions = await listPartitions(clickhouse, [table]);
    const { rows } = await clickhouse.read<{ id: string; n: string }>(
      `SELECT _partition_id AS id, count() AS n FROM ${table.name} WHERE tenant_id = {tenant:String} GROUP BY id`,
      { tenant: tenantId },
    );
    const rowsIn = new Map(rows.map(({ id, n }) => [id, Number(n)]));
    return partitions
      .map((partition) => ({
        partition,
        bytes: (partition.bytes * (rowsIn.get(partition.id) ?? 0)) / partition.rows,
      }))
      .filter(({ bytes }) => bytes > 0);
  }

  private warn(what: string, usedBytes: number, limitBytes: number, details: object): void {
    if (usedBytes < limitBytes * NEAR) {
      this.warned.delete(what);
      return;
    }
    if (this.warned.has(what)) return;
    this.warned.add(what);
    this.expiry.log.warn(
      { ...details, usedBytes: Math.round(usedBytes), limitBytes },
      'Data is near its limit: at the limit the oldest goes',
    );
  }
}

/** Rows as they came before rollups, which are small and answer for longer; today never. */
function oldestFirst(partitions: readonly Partition[], nowMs: number): Partition[] {
  const isRollup = ({ table }: Partition) => (table.partition === 'month' ? 1 : 0);
  return partitions
    .filter(({ table, endMs }) => table.dataType !== undefined && endMs <= nowMs - (nowMs % DAY_MS))
    .sort((a, b) => isRollup(a) - isRollup(b) || a.endMs - b.endMs);
}

/** Bytes of a folder's files, without those of one of its folders. What vanishes meanwhile counts nothing. */
async function sizeOf(directory: string, except?: string): Promise<number> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  let bytes = 0;
  for (const entry of entries) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) bytes += entry.name === except ? 0 : await sizeOf(path);
    else if (entry.isFile())
      bytes += await stat(path).then(
        ({ size }) => size,
        () => 0,
      );
  }
  return bytes;
}
