import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Gauge, type Registry } from 'prom-client';

/** Sampled every 50 ms: at 10 ms sampling was most of what the idle process did. */
const SAMPLING_MS = 50;
const NANOSECONDS_PER_MS = 1e6;
const SHARES = { 0.5: 50, 0.99: 99, 1: 100 } as const;

/**
 * How late the event loop ran what was due, since the last time the metrics were read.
 *
 * Node's histogram holds the time from one sample to the next, so its numbers contain the sampling period; prom-client gives
 * them as they are. Here the period is taken off.
 */
export function registerEventLoopLag(registry: Registry): void {
  const histogram = monitorEventLoopDelay({ resolution: SAMPLING_MS });
  histogram.enable();
  new Gauge({
    name: 'telemetryflow_event_loop_lag_seconds',
    help: 'How late the event loop ran what was due, since the last reading; quantile 1 is the longest.',
    labelNames: ['quantile'],
    registers: [registry],
    collect() {
      for (const [share, percent] of Object.entries(SHARES)) {
        const ms = histogram.count > 0 ? histogram.percentile(percent) / NANOSECONDS_PER_MS - SAMPLING_MS : 0;
        this.set({ quantile: share }, Math.max(0, ms) / 1000);
      }
      histogram.reset();
    },
  });
}
