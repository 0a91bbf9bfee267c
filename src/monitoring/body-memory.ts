import { Gauge, type Registry } from 'prom-client';
import type { BodyPool } from '../memory/body-pool.js';

/** Memory for request bodies: V8 and its figures know nothing of it. */
export function registerBodyMemory(registry: Registry, bodies: BodyPool): void {
  new Gauge({
    name: 'telemetryflow_body_memory_bytes',
    help: 'Memory for request bodies: lent to bodies under way or waiting for the store, or idle.',
    labelNames: ['state'],
    registers: [registry],
    collect() {
      this.set({ state: 'lent' }, bodies.lentBytes);
      this.set({ state: 'idle' }, bodies.idleBytes);
    },
  });
}
