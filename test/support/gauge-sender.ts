import { sendOtlp } from './otlp-client.js';
import type { Server } from './server.js';

const EVERY_MS = 250;

/** Sends points of a gauge of the service shop, four a second. */
export class GaugeSender {
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly metric: string) {}

  /** From now on this value, to this server. */
  send(server: Server, asDouble: number): void {
    this.stop();
    const once = () => {
      const point = { timeUnixNano: `${Date.now()}000000`, asDouble };
      const metrics = [{ name: this.metric, unit: '1', gauge: { dataPoints: [point] } }];
      const attributes = [{ key: 'service.name', value: { stringValue: 'shop' } }];
      const request = { resourceMetrics: [{ resource: { attributes }, scopeMetrics: [{ metrics }] }] };
      // A server that is being killed takes nothing.
      void sendOtlp(server.otlp, 'metrics', 'json', JSON.stringify(request)).catch(() => undefined);
    };
    once();
    this.timer = setInterval(once, EVERY_MS);
  }

  stop(): void {
    clearInterval(this.timer);
  }
}
