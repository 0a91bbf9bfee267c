import { Gauge, type Registry } from 'prom-client';
import type { QueueFigure, QueueFigures } from './queue-figures.js';

type Sample = [labels: Record<string, string>, value: number];
type Metric = [name: string, help: string, labels: string[], read: (figure: QueueFigure) => Sample[]];

const GAUGES: Metric[] = [
  [
    'jobs',
    'Jobs that a queue holds, by state; of otlp-ingestion requests (waiting, failed) and batches (active, delayed).',
    ['queue', 'state'],
    ({ waiting, active, delayed, failed }) =>
      Object.entries({ waiting, active, delayed, failed }).map(([state, count]) => [{ state }, count]),
  ],
  [
    'lag_seconds',
    'Age of the oldest job that could run and does not.',
    ['queue'],
    ({ lagMs }) => [[{}, lagMs / 1000]],
  ],
  [
    'jobs_per_second',
    'Jobs done, over the last minute.',
    ['queue'],
    ({ jobsPerSecond }) => [[{}, jobsPerSecond]],
  ],
  [
    'paused',
    '1: nothing of it is worked off until it is resumed.',
    ['queue'],
    ({ isPaused }) => [[{}, Number(isPaused)]],
  ],
];

/**
 * The queues' figures, read when they are asked for. With Redis they are of all processes together; while it is away they are missing, for what
 * they were last would be taken for what they are.
 */
export function registerQueueMetrics(registry: Registry, figures: Pick<QueueFigures, 'readAll'>): void {
  let reading: Promise<QueueFigure[]> | undefined;
  // All gauges are collected in one turn, and share what is read.
  const read = () => {
    reading ??= figures
      .readAll()
      .catch(() => [])
      .finally(() => (reading = undefined));
    return reading;
  };
  for (const [name, help, labelNames, samplesOf] of GAUGES)
    new Gauge({
      name: `telemetryflow_queue_${name}`,
      help,
      labelNames,
      registers: [registry],
      async collect() {
        const all = await read();
        this.reset();
        for (const figure of all)
          for (const [labels, value] of samplesOf(figure)) this.set({ queue: figure.name, ...labels }, value);
      },
    });
}
