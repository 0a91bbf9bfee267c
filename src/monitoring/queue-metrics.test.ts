import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Registry } from 'prom-client';
import { QUEUE_DEFAULTS } from '../queue-numbers.js';
import type { QueueFigure } from './queue-figures.js';
import { registerQueueMetrics } from './queue-metrics.js';

const FIGURE: QueueFigure = {
  name: 'cleanup',
  numbers: QUEUE_DEFAULTS.cleanup,
  waiting: 3,
  active: 1,
  delayed: 2,
  completed: 100,
  failed: 4,
  failures: 5,
  busyMs: 6,
  lagMs: 1500,
  isPaused: true,
  jobsPerSecond: 0.5,
  averageMs: null,
  successPercent: null,
  health: 'paused',
  advice: [],
};

describe('The metrics of the queues', () => {
  it('are the figures of each queue by state, read once for all of them', async () => {
    const registry = new Registry();
    let reads = 0;
    registerQueueMetrics(registry, {
      readAll: async () => {
        reads++;
        return [FIGURE];
      },
    });
    const text = await registry.metrics();
    for (const line of [
      'telemetryflow_queue_jobs{queue="cleanup",state="waiting"} 3',
      'telemetryflow_queue_jobs{queue="cleanup",state="active"} 1',
      'telemetryflow_queue_jobs{queue="cleanup",state="delayed"} 2',
      'telemetryflow_queue_jobs{queue="cleanup",state="failed"} 4',
      'telemetryflow_queue_lag_seconds{queue="cleanup"} 1.5',
      'telemetryflow_queue_jobs_per_second{queue="cleanup"} 0.5',
      'telemetryflow_queue_paused{queue="cleanup"} 1',
    ])
      assert.ok(text.split('\n').includes(line), `${line}\n${text}`);
    assert.equal(reads, 1);
  });

  it('are missing while the queues cannot be read, and there again afterwards', async () => {
    const registry = new Registry();
    let isAway = false;
    registerQueueMetrics(registry, {
      readAll: async () => {
        if (isAway) throw new Error('Redis is away');
        return [FIGURE];
      },
    });
    const hasSample = async () => /^telemetryflow_queue_\w+\{/m.test(await registry.metrics());
    assert.equal(await hasSample(), true);
    isAway = true;
    assert.equal(await hasSample(), false);
    isAway = false;
    assert.equal(await hasSample(), true);
  });
});
