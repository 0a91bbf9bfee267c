import protobuf from 'protobufjs';
import { randomFrom } from './random.js';

/**
 * Realistic OTLP request bodies from a seed: a web shop of 8 services with 5 operations each. The same options give
 * the same bytes. About 5 ms for 1,000 items.
 */
export interface BodyOptions {
  /** Spans, log records or data points. */
  items: number;
  seed: number;
  /** Times lie within the last 10 seconds before this (Unix milliseconds). */
  nowMs: number;
  /** When given, every item has the string attribute `test.marker` = `<marker>-<index>`. */
  marker?: string;
}

const SERVICES = ['web', 'cart', 'checkout', 'payment', 'catalog', 'search', 'shipping', 'accounts'];
const OPERATIONS = ['list', 'get', 'create', 'update', 'delete'];
const METHODS = ['GET', 'GET', 'POST', 'PUT', 'DELETE'];
const WORDS =
  'order customer payment item stock accepted retry upstream latency budget session token cache'.split(' ');

/** Writes OTLP messages field by field; `tag` is field number << 3 | wire type. */
class BodyWriter {
  readonly out = protobuf.Writer.create();
  readonly random: () => number;
  private readonly nowNs: bigint;

  constructor(readonly options: BodyOptions) {
    this.random = randomFrom(options.seed);
    this.nowNs = BigInt(options.nowMs) * 1_000_000n;
  }

  below(limit: number): number {
    return Math.floor(this.random() * limit);
  }

  message(tag: number, write: () => void): void {
    this.out.uint32(tag).fork();
    write();
    this.out.ldelim();
  }

  string(tag: number, value: string): void {
    this.out.uint32(tag).string(value);
  }

  fixed64(tag: number, low: number, high: number): void {
    this.out.uint32(tag).fixed32(low).fixed32(high);
  }

  double(tag: number, value: number): void {
    this.out.uint32(tag).double(value);
  }

  varint(tag: number, value: number): void {
    this.out.uint32(tag).uint32(value);
  }

  id(tag: number, length: number): void {
    const id = new Uint8Array(length);
    for (let i = 0; i < length; i++) id[i] = this.below(256);
    this.out.uint32(tag).bytes(id);
  }

  /** A time `ageNs` before now. */
  time(tag: number, ageNs: number): void {
    const ns = this.nowNs - BigInt(ageNs);
    this.fixed64(tag, Number(ns & 0xffffffffn), Number(ns >> 32n));
  }

  attribute(tag: number, key: string, value: string | number | boolean, kind = typeof value): void {
    this.out.uint32(tag).fork();
    this.string(0x0a, key);
    this.out.uint32(0x12).fork();
    if (kind === 'string') this.string(0x0a, String(value));
    else if (kind === 'boolean') this.out.uint32(0x10).bool(value === true);
    else if (kind === 'bigint') this.out.uint32(0x18).int64(Number(value));
    else this.double(0x21, Number(value));
    this.out.ldelim();
    this.out.ldelim();
  }

  int(tag: number, key: string, value: number): void {
    this.attribute(tag, key, value, 'bigint');
  }

  marker(tag: number, index: number): void {
    const { marker } = this.options;
    if (marker !== undefined) this.attribute(tag, 'test.marker', `${marker}-${index}`);
  }

  /** One resource block per service, each with its share of the items. */
  perService(write: (service: string, index: number) => void): Uint8Array {
    const { items } = this.options;
    const count = Math.min(items, SERVICES.length);
    let index = 0;
    for (let s = 0; s < count; s++) {
      const until = Math.floor(((s + 1) * items) / count);
      this.message(0x0a, () => {
        this.message(0x0a, () => this.resource(SERVICES[s]));
        this.message(0x12, () => {
          this.message(0x0a, () => {
            this.string(0x0a, 'shop-instrumentation');
            this.string(0x12, '1.4.2');
          });
          for (; index < until; index++) this.message(0x12, () => write(SERVICES[s], index));
        });
      });
    }
    return this.out.finish();
  }

  resource(service: string): void {
    this.attribute(0x0a, 'service.name', service);
    this.attribute(0x0a, 'service.version', '1.4.2');
    this.attribute(0x0a, 'deployment.environment.name', 'production');
    this.attribute(0x0a, 'host.name', `host-${this.below(24)}`);
    this.attribute(0x0a, 'telemetry.sdk.language', 'nodejs');
  }
}

/** ExportTraceServiceRequest: 7 attributes a span, 5 % of the spans with an exception event. */
export function makeTracesBody(options: BodyOptions): Uint8Array {
  const w = new BodyWriter(options);
  return w.perService((service, index) => {
    const operation = w.below(5);
    const age = w.below(10_000_000_000);
    const failed = w.below(20) === 0;
    w.id(0x0a, 16);
    w.id(0x12, 8);
    if (w.below(5) !== 0) w.id(0x22, 8);
    w.string(0x2a, `${METHODS[operation]} /${service}/${OPERATIONS[operation]}`);
    w.varint(0x30, 1 + w.below(5));
    w.time(0x39, age);
    w.time(0x41, Math.max(0, age - w.below(50_000_000)));
    w.attribute(0x4a, 'http.request.method', METHODS[operation]);
    w.attribute(0x4a, 'http.route', `/api/v1/${service}/:id`);
    w.int(0x4a, 'http.response.status_code', failed ? 500 : 200 + w.below(5));
    w.attribute(0x4a, 'url.path', `/api/v1/${service}/${w.below(100_000)}`);
    w.attribute(0x4a, 'user.id', `u${w.below(50_000)}`);
    w.attribute(0x4a, 'app.cart.total', w.below(1_000_000) / 100);
    w.attribute(0x4a, 'app.cache.hit', w.below(2) === 0);
    w.marker(0x4a, index);
    if (failed) w.message(0x5a, () => exceptionEvent(w, age));
    if (failed) w.message(0x7a, () => w.varint(0x18, 2));
    w.out.uint32((16 << 3) | 5).fixed32(0x101);
  });
}

function exceptionEvent(w: BodyWriter, age: number): void {
  w.time(0x09, age);
  w.string(0x12, 'exception');
  w.attribute(0x1a, 'exception.type', 'TimeoutError');
  w.attribute(0x1a, 'exception.message', `upstream did not answer within ${w.below(5000)} ms`);
}

/** ExportLogsServiceRequest: bodies of about 100 characters, 4 attributes a record. */
export function makeLogsBody(options: BodyOptions): Uint8Array {
  const w = new BodyWriter(options);
  return w.perService((service, index) => {
    const age = w.below(10_000_000_000);
    const failed = w.below(20) === 0;
    w.time(0x09, age);
    w.varint(0x10, failed ? 17 : 9);
    w.string(0x1a, failed ? 'ERROR' : 'INFO');
    w.message(0x2a, () => w.string(0x0a, logText(w, service)));
    w.attribute(0x32, 'code.function.name', `${service}.handle`);
    w.int(0x32, 'thread.id', w.below(64));
    w.attribute(0x32, 'user.id', `u${w.below(50_000)}`);
    w.attribute(0x32, 'app.duration_ms', w.below(100_000) / 100);
    w.marker(0x32, index);
    w.out.uint32(0x45).fixed32(1);
    w.id(0x4a, 16);
    w.id(0x52, 8);
    w.time(0x59, age);
  });
}

function logText(w: BodyWriter, service: string): string {
  let text = `${service} request ${w.below(1_000_000)}`;
  while (text.length < 95) text += ` ${WORDS[w.below(WORDS.length)]}=${w.below(1000)}`;
  return text;
}

/** Gauge and monotonic sum points, one int or double value and 4 attributes each; 10 points a metric. */
export function makeMetricsBody(options: BodyOptions): Uint8Array {
  return writeMetrics(options, 10, (w, metric, points) => {
    const isSum = metric % 2 === 1;
    w.message(isSum ? 0x3a : 0x2a, () => {
      points((index) =>
        w.message(0x0a, () => {
          w.time(0x11, 60_000_000_000);
          w.time(0x19, w.below(10_000_000_000));
          if (isSum) w.fixed64(0x31, w.below(1_000_000), 0);
          else w.double(0x21, w.random() * 100);
          pointAttributes(w, 0x3a, index);
        }),
      );
      if (isSum) {
        w.varint(0x10, 2);
        w.varint(0x18, 1);
      }
    });
  });
}

/** Explicit and exponential histograms and summaries, 4 attributes a point; every tenth histogram has an exemplar. */
export function makeHistogramsBody(options: BodyOptions): Uint8Array {
  return writeMetrics(options, 10, (w, metric, points) => {
    const kind = metric % 4;
    w.message(kind < 2 ? 0x4a : kind === 2 ? 0x52 : 0x5a, () => {
      points((index) =>
        w.message(0x0a, () => {
          if (kind < 2) histogramPoint(w, index);
          else if (kind === 2) exponentialPoint(w, index);
          else summaryPoint(w, index);
        }),
      );
      if (kind < 3) w.varint(0x10, 2);
    });
  });
}

function writeMetrics(
  options: BodyOptions,
  pointsEach: number,
  write: (w: BodyWriter, metric: number, points: (point: (index: number) => void) => void) => void,
): Uint8Array {
  const w = new BodyWriter({ ...options, items: Math.ceil(options.items / pointsEach) });
  let left = options.items;
  return w.perService((service, metric) => {
    w.string(0x0a, `app.${service}.${WORDS[metric % WORDS.length]}`);
    w.string(0x12, `what ${service} measures of ${WORDS[metric % WORDS.length]}`);
    w.string(0x1a, metric % 2 === 0 ? 'ms' : '{request}');
    write(w, metric, (point) => {
      for (let i = 0; i < pointsEach && left > 0; i++, left--) point(options.items - left);
    });
  });
}

function pointAttributes(w: BodyWriter, tag: number, index: number): void {
  w.attribute(tag, 'http.request.method', METHODS[w.below(5)]);
  w.attribute(tag, 'http.route', `/api/v1/${OPERATIONS[w.below(5)]}`);
  w.int(tag, 'http.response.status_code', 200 + w.below(5));
  w.attribute(tag, 'server.address', `10.0.0.${w.below(250)}`);
  w.marker(tag, index);
}

function histogramPoint(w: BodyWriter, index: number): void {
  w.time(0x11, 60_000_000_000);
  w.time(0x19, w.below(10_000_000_000));
  w.fixed64(0x21, 160, 0);
  w.double(0x29, w.random() * 1000);
  w.message(0x32, () => {
    for (let i = 0; i < 16; i++) w.out.fixed32(w.below(20)).fixed32(0);
  });
  w.message(0x3a, () => {
    for (let i = 0; i < 15; i++) w.out.double(5 * 1.7 ** i);
  });
  if (w.below(10) === 0) {
    w.message(0x42, () => {
      w.time(0x11, w.below(10_000_000_000));
      w.double(0x19, w.random() * 100);
      w.id(0x22, 8);
      w.id(0x2a, 16);
    });
  }
  pointAttributes(w, 0x4a, index);
  w.double(0x59, w.random());
  w.double(0x61, 100 + w.random());
}

function exponentialPoint(w: BodyWriter, index: number): void {
  pointAttributes(w, 0x0a, index);
  w.time(0x11, 60_000_000_000);
  w.time(0x19, w.below(10_000_000_000));
  w.fixed64(0x21, 200, 0);
  w.double(0x29, w.random() * 1000);
  w.varint(0x30, 6);
  w.fixed64(0x39, w.below(5), 0);
  w.message(0x42, () => {
    w.varint(0x08, 9);
    w.message(0x12, () => {
      for (let i = 0; i < 40; i++) w.out.uint32(w.below(300));
    });
  });
}

function summaryPoint(w: BodyWriter, index: number): void {
  w.time(0x11, 60_000_000_000);
  w.time(0x19, w.below(10_000_000_000));
  w.fixed64(0x21, 100, 0);
  w.double(0x29, w.random() * 1000);
  for (const quantile of [0.5, 0.9, 0.99]) {
    w.message(0x32, () => {
      w.double(0x09, quantile);
      w.double(0x11, w.random() * 100);
    });
  }
  pointAttributes(w, 0x3a, index);
}
