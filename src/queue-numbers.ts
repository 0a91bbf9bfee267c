import { z } from 'zod';

/** The five queues of the program. */
export const QUEUE_NAMES = [
  'otlp-ingestion',
  'alert-evaluation',
  'aggregation',
  'notification',
  'cleanup',
] as const;
export type QueueName = (typeof QUEUE_NAMES)[number];

/** How a queue works its jobs off. */
export interface QueueNumbers {
  /** 2 high, 3 medium, 4 low: a lower number goes first. */
  priority: number;
  /** Jobs at once, of one process. */
  workers: number;
  /** Jobs started in a second, of all processes together. */
  perSecond: number;
  /** The first one included. */
  tries: number;
  /** Pause after the first failure; doubled after each further one. */
  firstBackoffMs: number;
  keepDone: number;
  keepDoneMs: number;
  keepFailed: number;
  keepFailedMs: number;
}

/** The numbers of each queue. */
export type AllQueueNumbers = Readonly<Record<QueueName, QueueNumbers>>;

const HOUR_MS = 3_600_000;
const KEPT = { keepDone: 100, keepDoneMs: HOUR_MS, keepFailed: 500, keepFailedMs: 24 * HOUR_MS };

export const QUEUE_DEFAULTS: AllQueueNumbers = {
  'otlp-ingestion': {
    ...KEPT,
    priority: 2,
    workers: 10,
    perSecond: 1000,
    tries: 3,
    firstBackoffMs: 1000,
  },
  'alert-evaluation': {
    ...KEPT,
    priority: 2,
    workers: 5,
    perSecond: 100,
    tries: 3,
    firstBackoffMs: 2000,
  },
  aggregation: { ...KEPT, priority: 3, workers: 3, perSecond: 50, tries: 3, firstBackoffMs: 5000 },
  notification: {
    ...KEPT,
    priority: 3,
    workers: 5,
    perSecond: 100,
    tries: 5,
    firstBackoffMs: 3000,
    keepFailedMs: 48 * HOUR_MS,
  },
  cleanup: { ...KEPT, priority: 4, workers: 2, perSecond: 10, tries: 2, firstBackoffMs: 10_000 },
};

/** What a setting may say, and how it is called there. */
const FIELDS: Record<string, { field: keyof QueueNumbers; min: number; max: number }> = {
  priority: { field: 'priority', min: 1, max: 9 },
  workers: { field: 'workers', min: 1, max: 1000 },
  per_second: { field: 'perSecond', min: 1, max: 1_000_000 },
  tries: { field: 'tries', min: 1, max: 100 },
  first_backoff_ms: { field: 'firstBackoffMs', min: 1, max: HOUR_MS },
  keep_done: { field: 'keepDone', min: 0, max: 1_000_000 },
  keep_done_ms: { field: 'keepDoneMs', min: 1000, max: 365 * 24 * HOUR_MS },
  keep_failed: { field: 'keepFailed', min: 0, max: 1_000_000 },
  keep_failed_ms: { field: 'keepFailedMs', min: 1000, max: 365 * 24 * HOUR_MS },
};
const ALLOWED = Object.entries(FIELDS)
  .map(([name, { min, max }]) => `${name}=${min}..${max}`)
  .join(', ');

/** A queue's numbers as the setting gives them: `workers=20,per_second=5000`; what it does not name keeps its default. */
export const queueNumbers = (queue: QueueName) =>
  z.string().transform((text, context): QueueNumbers => {
    const numbers = { ...QUEUE_DEFAULTS[queue] };
    for (const part of text.split(',').filter((item) => item.trim() !== '')) {
      const [name, value, more] = part.split('=').map((item) => item.trim());
      const known = FIELDS[name];
      const isNumber = more === undefined && /^\d+$/.test(value ?? '');
      if (!known || !isNumber || Number(value) < known.min || Number(value) > known.max) {
        context.addIssue({ code: 'custom', message: `a comma-separated list of ${ALLOWED}` });
        return z.NEVER;
      }
      numbers[known.field] = Number(value);
    }
    return numbers;
  });

/** The defaults as the setting would say them. */
export function queueNumbersText(queue: QueueName): string {
  return Object.entries(FIELDS)
    .map(([name, { field }]) => `${name}=${QUEUE_DEFAULTS[queue][field]}`)
    .join(',');
}

const setting = (queue: QueueName, meaning: string) => ({
  schema: queueNumbers(queue),
  default: queueNumbersText(queue),
  meaning,
});

/** The numbers of each queue: a part of the settings. */
export const QUEUE_SETTINGS = {
  QUEUE_OTLP_INGESTION: setting(
    'otlp-ingestion',
    'numbers of this queue; what is not named keeps its default',
  ),
  QUEUE_ALERT_EVALUATION: setting('alert-evaluation', 'the same'),
  QUEUE_AGGREGATION: setting('aggregation', 'the same'),
  QUEUE_NOTIFICATION: setting('notification', 'the same'),
  QUEUE_CLEANUP: setting('cleanup', 'the same'),
} as const;
