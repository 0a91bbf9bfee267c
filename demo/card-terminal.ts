import type { SpanContext } from '@opentelemetry/api';
import type { Delivery } from './delivery.js';
import type { PlannedSpan } from './plan.js';

const KEPT = 500;
const KEPT_EXEMPLARS = 5;
const BOUNDS = [10, 25, 50, 100];
const QUANTILES = [0, 0.5, 0.9, 0.99, 1];

/**
 * An old card terminal without an SDK, which writes OTLP/JSON by hand. It has what the JavaScript SDK cannot make:
 * a summary (the fifth kind of metric) and exemplars, which lead from a metric to a trace.
 */
export class CardTerminal {
  private readonly startUnixMs = Date.now();
  private readonly latenciesMs: number[] = [];
  private readonly exemplars: object[] = [];
  private readonly bucketCounts = new Array<number>(BOUNDS.length + 1).fill(0);
  private count = 0;
  private latencySumMs = 0;
  private amountSum = 0;

  constructor(
    private readonly delivery: Delivery,
    private readonly endpoint: string,
  ) {}

  /** Takes note of a payment when its span goes by. */
  notice(span: PlannedSpan, context: SpanContext, amount: number): void {
    if (span.attributes['server.address'] !== 'api.card-network.example') return;
    const tookMs = span.endMs - span.startMs;
    this.count++;
    this.latencySumMs += tookMs;
    this.amountSum += amount;
    this.latenciesMs.push(tookMs);
    if (this.latenciesMs.length > KEPT) this.latenciesMs.shift();
    const bucket = BOUNDS.findIndex((bound) => amount <= bound);
    this.bucketCounts[bucket < 0 ? BOUNDS.length : bucket]++;
    this.exemplars.push({
      timeUnixNano: unixNano(Date.now()),
      asDouble: amount,
      traceId: context.traceId,
      spanId: context.spanId,
      filteredAttributes: [{ key: 'card.scheme', value: { stringValue: 'visa' } }],
    });
    if (this.exemplars.length > KEPT_EXEMPLARS) this.exemplars.shift();
  }

  /** Sends its two metrics; a failure is counted like the SDK's. */
  async send(): Promise<void> {
    if (this.count === 0) return;
    try {
      const response = await fetch(`${this.endpoint}/v1/metrics`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...this.delivery.headers() },
        body: JSON.stringify(this.request()),
        signal: AbortSignal.timeout(10_000),
      });
      const body = await response.text();
      if (!response.ok || body.includes('partialSuccess')) {
        this.delivery.failed(`card terminal: ${response.status} ${body.slice(0, 200)}`);
      } else this.delivery.totals.points += 2;
    } catch (error) {
      this.delivery.failed(`card terminal: ${(error as Error).message}`);
    }
  }

  private request(): object {
    const text = (key: string, stringValue: string) => ({ key, value: { stringValue } });
    const point = {
      attributes: [text('terminal.model', 'T-2000')],
      startTimeUnixNano: unixNano(this.startUnixMs),
      timeUnixNano: unixNano(Date.now()),
      count: String(this.count),
    };
    const sorted = [...this.latenciesMs].sort((a, b) => a - b);
    const quantileValues = QUANTILES.map((quantile) => ({
      quantile,
      value: sorted[Math.min(sorted.length - 1, Math.floor(quantile * sorted.length))],
    }));
    const latency = { ...point, sum: this.latencySumMs, quantileValues };
    const { bucketCounts, exemplars } = this;
    const amount = {
      ...point,
      sum: this.amountSum,
      explicitBounds: BOUNDS,
      bucketCounts: bucketCounts.map(String),
      exemplars,
    };
    const metrics = [
      {
        name: 'shop.card_terminal.latency',
        description: 'How long the card network took, by quantile.',
        unit: 'ms',
        summary: { dataPoints: [latency] },
      },
      {
        name: 'shop.card_terminal.amount',
        description: 'Amounts charged, with exemplars that lead to the traces.',
        unit: '{currency}',
        histogram: { aggregationTemporality: 2, dataPoints: [amount] },
      },
    ];
    const attributes = [
      text('service.name', 'payment'),
      text('service.namespace', 'shop'),
      text('host.name', 'terminal-1'),
    ];
    return {
      resourceMetrics: [
        { resource: { attributes }, scopeMetrics: [{ scope: { name: 'card-terminal' }, metrics }] },
      ],
    };
  }
}

function unixNano(unixMs: number): string {
  return `${Math.floor(unixMs)}000000`;
}
