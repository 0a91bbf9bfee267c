import {
  type Attributes,
  type Counter,
  type Gauge,
  type Histogram,
  type Meter,
  SpanKind,
  type UpDownCounter,
  ValueType,
} from '@opentelemetry/api';
import type { PlannedSpan } from './plan.js';
import type { Random } from './random.js';
import type { Shopper } from './shopper.js';
import type { ServiceName } from './topology.js';

const SECOND_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
const MIB = 1024 * 1024;

function chosen(attributes: Attributes, ...names: string[]): Attributes {
  return Object.fromEntries(
    names.filter((name) => name in attributes).map((name) => [name, attributes[name]]),
  );
}

/** A service's metrics, by semantic conventions where they have one; `db.*` become exponential histograms by a view. */
export class Instruments {
  private readonly serverSeconds: Histogram;
  private readonly clientSeconds: Histogram;
  private readonly rpcMs: Histogram;
  private readonly querySeconds: Histogram;
  private readonly orders: Counter;
  private readonly revenue: Counter;
  private readonly cartItems: UpDownCounter;
  private readonly stock: Gauge;
  private busySeconds = 0;
  private waitingParcels = 0;

  constructor(
    service: ServiceName,
    meter: Meter,
    private readonly random: Random,
  ) {
    const seconds = { unit: 's', advice: { explicitBucketBoundaries: SECOND_BUCKETS } };
    const describe = (description: string) => ({ ...seconds, description });
    this.serverSeconds = meter.createHistogram(
      'http.server.request.duration',
      describe('Duration of HTTP server requests.'),
    );
    this.clientSeconds = meter.createHistogram(
      'http.client.request.duration',
      describe('Duration of HTTP client requests.'),
    );
    this.querySeconds = meter.createHistogram('db.client.operation.duration', {
      unit: 's',
      description: 'Duration of database client operations.',
    });
    this.rpcMs = meter.createHistogram('rpc.server.duration', {
      unit: 'ms',
      description: 'Duration of inbound RPC.',
    });
    this.orders = meter.createCounter('shop.orders', {
      unit: '{order}',
      description: 'Orders placed.',
      valueType: ValueType.INT,
    });
    this.revenue = meter.createCounter('shop.revenue', {
      unit: '{currency}',
      description: 'Value of orders placed.',
    });
    this.cartItems = meter.createUpDownCounter('shop.cart.items', {
      unit: '{item}',
      description: 'Items in all carts.',
      valueType: ValueType.INT,
    });
    this.stock = meter.createGauge('shop.stock.level', {
      unit: '{piece}',
      description: 'Pieces left after a reservation.',
      valueType: ValueType.INT,
    });
    this.observe(service, meter);
  }

  private observe(service: ServiceName, meter: Meter): void {
    meter
      .createObservableCounter('process.cpu.time', { unit: 's', description: 'CPU seconds used.' })
      .addCallback((result) => {
        result.observe(this.busySeconds * 0.2, { 'cpu.mode': 'user' });
        result.observe(this.busySeconds * 0.05, { 'cpu.mode': 'system' });
      });
    meter
      .createObservableGauge('process.memory.utilization', {
        unit: '1',
        description: 'Share of the memory limit in use.',
      })
      .addCallback((result) => result.observe(0.4 + 0.2 * this.random.next()));
    meter
      .createObservableUpDownCounter('process.memory.usage', {
        unit: 'By',
        description: 'Memory in use.',
        valueType: ValueType.INT,
      })
      .addCallback((result) => result.observe(this.random.integer(80, 120) * MIB));
    if (service !== 'shipping') return;
    meter
      .createObservableGauge('shop.parcels.waiting', {
        unit: '{order}',
        description: 'Orders not shipped yet.',
        valueType: ValueType.INT,
      })
      .addCallback((result) => result.observe(this.waitingParcels));
  }

  parcelsWaiting(count: number): void {
    this.waitingParcels = count;
  }

  /** Records what a span of this service is worth in metrics. */
  record(span: PlannedSpan, shopper: Shopper): void {
    const seconds = (span.endMs - span.startMs) / 1000;
    const { attributes } = span;
    const http = 'http.request.method' in attributes;
    if (span.kind === SpanKind.SERVER) {
      this.busySeconds += seconds;
      const names = [
        'http.request.method',
        'http.route',
        'http.response.status_code',
        'url.scheme',
        'error.type',
      ];
      if (http) this.serverSeconds.record(seconds, chosen(attributes, ...names));
      else
        this.rpcMs.record(
          seconds * 1000,
          chosen(attributes, 'rpc.service', 'rpc.method', 'rpc.grpc.status_code'),
        );
    } else if (span.kind === SpanKind.CLIENT) {
      const names = ['http.request.method', 'server.address', 'http.response.status_code', 'error.type'];
      if (http) this.clientSeconds.record(seconds, chosen(attributes, ...names));
      const query = ['db.system.name', 'db.operation.name', 'db.collection.name'];
      if ('db.system.name' in attributes) this.querySeconds.record(seconds, chosen(attributes, ...query));
    }
    this.count(span, shopper);
  }

  private count(span: PlannedSpan, shopper: Shopper): void {
    const currency = { 'shop.order.currency': shopper.currency };
    if (span.counts === 'order') {
      this.orders.add(1, currency);
      this.revenue.add(shopper.amount, currency);
    } else if (span.counts === 'cart-add') {
      this.cartItems.add(1);
    } else if (span.operation === 'shop.Cart/EmptyCart' && span.kind === SpanKind.SERVER) {
      this.cartItems.add(-shopper.products.length);
    } else if (span.counts === 'reservation') {
      for (const id of shopper.products)
        this.stock.record(this.random.integer(0, 400), { 'shop.product.id': id });
    }
  }
}
