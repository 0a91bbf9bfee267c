import { Counter, type Registry } from 'prom-client';

/** What became of a try: `retried` failed and is made again, `failed` was the last one. */
export type TryResult = 'sent' | 'retried' | 'failed';

/** What this process sends to channels. */
export class DeliveryMetrics {
  private readonly tries: Counter;

  constructor(registry: Registry) {
    this.tries = new Counter({
      name: 'telemetryflow_notification_deliveries_total',
      help: 'Tries to tell a channel, by its kind: sent, retried (it failed, and is tried again), failed (it was given up).',
      labelNames: ['kind', 'result'],
      registers: [registry],
    });
  }

  tried(kind: string, result: TryResult): void {
    this.tries.inc({ kind, result });
  }
}
