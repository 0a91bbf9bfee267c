import { Gauge, type Registry } from 'prom-client';

/** From this share of a limit on there are warnings. */
export const NEAR = 0.9;

/** What takes how much of its limits. */
export interface DiskReport {
  /** Of the data folder; undefined: there is no limit. */
  folder?: { usedBytes: number; limitBytes: number };
  /** Tenants and signals at 90 % of their limits and beyond. */
  tenantsNearLimit: number;
}

/** How much room is left, as last looked at. */
export class DiskUse {
  private report: DiskReport = { tenantsNearLimit: 0 };

  constructor(registry: Registry) {
    const gauge = (name: string, help: string, value: () => number | undefined) =>
      new Gauge({
        name,
        help,
        registers: [registry],
        collect() {
          const now = value();
          if (now === undefined) this.reset();
          else this.set(now);
        },
      });
    gauge('telemetryflow_disk_used_bytes', 'Size of the data folder; with DISK_LIMIT alone.', () => {
      return this.report.folder?.usedBytes;
    });
    gauge('telemetryflow_disk_limit_bytes', 'DISK_LIMIT.', () => this.report.folder?.limitBytes);
    gauge('telemetryflow_tenants_near_limit', 'Signals of tenants at 90 % of their bytes or beyond.', () => {
      return this.report.tenantsNearLimit;
    });
  }

  set(report: DiskReport): void {
    this.report = report;
  }

  /** For `/health/ready`; undefined: there is no limit. It is up: data is taken, at the cost of the oldest. */
  health(): { status: 'up'; used_bytes: number; limit_bytes: number; degraded?: string } | undefined {
    if (this.report.folder === undefined) return undefined;
    const { usedBytes, limitBytes } = this.report.folder;
    const degraded =
      usedBytes >= limitBytes * NEAR
        ? `${Math.floor((usedBytes / limitBytes) * 100)} % of DISK_LIMIT are in use; at 100 % the oldest data goes`
        : undefined;
    return {
      status: 'up',
      used_bytes: usedBytes,
      limit_bytes: limitBytes,
      ...(degraded === undefined ? {} : { degraded }),
    };
  }
}
