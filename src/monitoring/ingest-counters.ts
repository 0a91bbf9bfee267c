import { Counter, Histogram, type Registry } from 'prom-client';
import type { ErrorCode } from '../errors.js';
import { SIGNALS, type Signal } from '../signal.js';

const SECONDS_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** What ingest does, counted: shown at /metrics. */
export class IngestCounters {
  private readonly items: Counter<'signal' | 'outcome'>;
  private readonly bytes: Counter<'signal'>;
  private readonly refusals: Counter<'code'>;
  private readonly acknowledgement: Histogram;
  private readonly inserts: Histogram<'signal'>;
  /** What was received since somebody looked: a labelled counter costs more than a small body's check. */
  private readonly unread = {
    traces: { items: 0, bytes: 0 },
    logs: { items: 0, bytes: 0 },
    metrics: { items: 0, bytes: 0 },
  } satisfies Record<Signal, { items: number; bytes: number }>;

  constructor(registry: Registry) {
    const registers = [registry];
    this.items = new Counter({
      name: 'telemetryflow_ingest_items_total',
      help: 'Spans, log records and data points by what became of them.',
      labelNames: ['signal', 'outcome'],
      registers,
      collect: () =>
        this.settle('items', (signal, sum) => this.items.inc({ signal, outcome: 'received' }, sum)),
    });
    this.bytes = new Counter({
      name: 'telemetryflow_ingest_body_bytes_total',
      help: 'Bytes of accepted request bodies after decompression.',
      labelNames: ['signal'],
      registers,
      collect: () => this.settle('bytes', (signal, sum) => this.bytes.inc({ signal }, sum)),
    });
    this.refusals = new Counter({
      name: 'telemetryflow_ingest_refused_requests_total',
      help: 'OTLP requests answered with an error, by error code.',
      labelNames: ['code'],
      registers,
    });
    this.acknowledgement = new Histogram({
      name: 'telemetryflow_ingest_acknowledgement_seconds',
      help: 'From the head of an OTLP request to its durable acknowledgement.',
      buckets: SECONDS_BUCKETS,
      registers,
    });
    this.inserts = new Histogram({
      name: 'telemetryflow_ingest_insert_seconds',
      help: 'Duration of one batch: transcoding and INSERT.',
      labelNames: ['signal'],
      buckets: SECONDS_BUCKETS,
      registers,
    });
  }

  received(signal: Signal, items: number, rejected: number, bytes: number): void {
    const sums = this.unread[signal];
    sums.items += items;
    sums.bytes += bytes;
    if (rejected > 0) this.items.inc({ signal, outcome: 'rejected' }, rejected);
  }

  private settle(what: 'items' | 'bytes', count: (signal: Signal, sum: number) => void): void {
    for (const signal of SIGNALS) {
      if (this.unread[signal][what] > 0) count(signal, this.unread[signal][what]);
      this.unread[signal][what] = 0;
    }
  }

  duplicate(signal: Signal, items: number): void {
    this.items.inc({ signal, outcome: 'duplicate' }, items);
  }

  stored(signal: Signal, rows: number, seconds: number): void {
    this.items.inc({ signal, outcome: 'stored' }, rows);
    this.inserts.observe({ signal }, seconds);
  }

  failed(signal: Signal, items: number): void {
    this.items.inc({ signal, outcome: 'failed' }, items);
  }

  /** Of the failed set, where they were kept their time. */
  expired(signal: Signal, items: number): void {
    this.items.inc({ signal, outcome: 'expired' }, items);
  }

  acknowledged(ms: number): void {
    this.acknowledgement.observe(ms / 1000);
  }

  refused(code: ErrorCode): void {
    this.refusals.inc({ code });
  }
}
