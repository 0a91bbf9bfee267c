import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { registerEventLoopLag } from './event-loop-lag.js';

async function longestMs(registry: Registry): Promise<number> {
  const text = await registry.metrics();
  return Number(/^telemetryflow_event_loop_lag_seconds\{quantile="1"\} (\S+)/m.exec(text)?.[1]) * 1000;
}

it('tells how long the event loop was held, without the sampling period, and forgets it when it was read', async () => {
  const registry = new Registry();
  registerEventLoopLag(registry);
  await sleep(300);
  await longestMs(registry);
  await sleep(120);
  for (const end = performance.now() + 400; performance.now() < end; );
  await sleep(120);
  const held = await longestMs(registry);
  assert.ok(held > 300, `${held} ms`);
  await sleep(200);
  const free = await longestMs(registry);
  assert.ok(free < held, `${free} ms after ${held} ms`);
});
