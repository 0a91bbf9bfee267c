import type { Scope } from '../src/edge/scope.js';
import type { Signal } from '../src/signal.js';

/*
 * SELECTs that make telemetry inside the engine: a shop of 20 services with 160 operations in three tenants, over some
 * days. The same numbers give the same rows.
 */

export interface RowsOrder {
  /** Row numbers, [from, from + count) of `total` that fill the days evenly. */
  from: number;
  count: number;
  total: number;
  days: number;
  /** Begin of the first day, Unix milliseconds. */
  startMs: number;
  /** Whose half of the rows is; unset: a tenant that no key leads to, as the other two are. */
  first?: Scope;
}

const SERVICES = `['web','cart','checkout','payment','catalog','search','shipping','accounts','billing','email','fraud',
  'gateway','inventory','ledger','media','orders','pricing','profile','recommend','sessions']`;
const VERBS = `['list','get','create','update','delete','find','sync','export']`;
const METHODS = `['GET','GET','POST','PUT','DELETE']`;
const WORDS = `['order','customer','payment','item','stock','accepted','retry','upstream','latency','budget','session','token',
  'cache','request','completed','connection','closed','timeout','shard','replica','queue','message','consumed','offset',
  'commit','user','profile','loaded','invalid','signature']`;
const SPANS_PER_TRACE = 8;
const SERIES = 6000;
const HISTOGRAM_SERIES = 120;
/** Name of the metric that `histograms` are of. */
export const HISTOGRAM = 'http.server.request.duration';

const hash = (salt: number, of = 'n') => `cityHash64(${of}, ${salt})`;
const oneOf = (list: string, number: string) => `${list}[1 + ${number} % length(${list})]`;
const startNs = (order: RowsOrder) => `toInt64(${order.startMs}) * 1000000`;
const nsPerRow = (order: RowsOrder) => (order.days * 86_400e9) / order.total;

const tenant = (name: string): Scope => ({
  organizationId: `org-${name}`,
  workspaceId: 'production',
  tenantId: name,
});
const [ACME, GLOBEX, INITECH] = ['acme', 'globex', 'initech'].map(tenant);

/** Tenants of unequal size: 1/2, 1/3, 1/6. */
function scope(number: string, first = ACME) {
  const all = [first, first, first, GLOBEX, GLOBEX, INITECH];
  const pick = (part: keyof Scope) => `[${all.map((one) => `'${one[part]}'`).join()}][1 + ${number} % 6]`;
  return {
    organization_id: pick('organizationId'),
    workspace_id: pick('workspaceId'),
    tenant_id: pick('tenantId'),
  };
}

const RESOURCE = {
  resource_attributes: `map('service.name', service, 'service.version', concat('1.', toString(service_number), '.0'), 'k8s.pod.name',
    concat(service, '-', lower(hex(cityHash64(service, pod)))), 'k8s.namespace.name', 'shop', 'deployment.environment.name', 'production')`,
  resource_attribute_types: `'sssss'`,
  scope_name: `concat('io.shop.', service)`,
  scope_version: `'2.1.0'`,
};

function spans(order: RowsOrder) {
  const root = `toInt64(trace * ${SPANS_PER_TRACE} * ${nsPerRow(order)})`;
  return {
    with: `intDiv(n, ${SPANS_PER_TRACE}) AS trace, n % ${SPANS_PER_TRACE} AS nth, 1 + ${hash(1, 'trace, nth')} % 20 AS service_number,
  ${SERVICES}[service_number] AS service, ${hash(2, 'trace, nth')} % 8 AS operation, ${hash(3)} AS h, 1 + h % 5 AS pod,
  ${startNs(order)} + ${root} + nth * 3000000 AS start, ${hash(6)} % 50 = 0 AS failed`,
    columns: {
      ...scope('trace', order.first),
      timestamp: 'fromUnixTimestamp64Nano(start + toInt64(h % 1000000))',
      trace_id: 'reinterpretAsFixedString(sipHash128(trace, 7))',
      span_id: 'reinterpretAsFixedString(sipHash64(n, 8))',
      parent_span_id: `if(nth = 0, toFixedString('', 8), reinterpretAsFixedString(sipHash64(n - nth + intDiv(nth - 1, 3), 8)))`,
      flags: '1',
      service_name: 'service',
      span_name: `concat(${VERBS}[1 + operation], ' /', service, if(operation < 4, '/{id}', ''))`,
      span_kind: `if(nth = 0, 2, if(h % 2000 = 0, 4, 1 + h % 3))`,
      duration_nano: `toInt64(exp(12 + (${hash(4)} % 1000000) / 1000000 * 7 + if(${hash(5)} % 20000 = 0, 5, 0)))`,
      status_code: 'multiIf(failed, 2, nth = 0, 1, 0)',
      attributes: `map('http.request.method', ${oneOf(METHODS, 'operation')}, 'http.route', concat('/', service, if(operation < 4, '/{id}', '')),
    'http.response.status_code', if(failed, '500', '200'), 'url.path', concat('/', service, '/', toString(${hash(9)} % 5000)),
    'user.id', concat('user-', toString(${hash(10, 'trace')} % 20000)), 'server.address', concat(service, '.shop.internal'), 'thread.id', toString(h % 64))`,
      attribute_types: `'ssissss'`,
      ...RESOURCE,
    },
  };
}

function logs(order: RowsOrder) {
  return {
    with: `1 + ${hash(1)} % 20 AS service_number, ${SERVICES}[service_number] AS service, ${hash(3)} AS h, ${hash(4)} AS g, 1 + h % 5 AS pod,
  ${startNs(order)} + toInt64(n * ${nsPerRow(order)}) AS start, multiIf(h % 20000 = 0, 21, h % 100 = 0, 17, h % 20 = 1, 13, h % 4 = 2, 5, 9) AS severity,
  g % 4 = 0 AS traced, if(g % 200000 = 0, ' corrupted checksum', '') AS rare`,
    columns: {
      ...scope('n', order.first),
      timestamp: 'fromUnixTimestamp64Nano(start)',
      observed_timestamp: 'fromUnixTimestamp64Nano(start + toInt64(1000000 + g % 1000))',
      trace_id: `if(traced, reinterpretAsFixedString(sipHash128(intDiv(n, 4), 7)), toFixedString('', 16))`,
      span_id: `if(traced, reinterpretAsFixedString(sipHash64(n, 8)), toFixedString('', 8))`,
      severity_number: 'severity',
      severity_text: `transform(severity, [21, 17, 13, 5], ['FATAL', 'ERROR', 'WARN', 'DEBUG'], 'INFO')`,
      service_name: 'service',
      body: `concat(${oneOf(WORDS, 'g')}, ' ', ${oneOf(WORDS, 'intDiv(g, 31)')}, ' ', ${oneOf(WORDS, 'intDiv(g, 997)')}, ' of ', service, ' took ',
    toString(g % 2000), ' ms for order ', toString(intDiv(g, 7) % 1000000), rare, ' ', ${oneOf(WORDS, 'intDiv(g, 30103)')})`,
      body_type: `'s'`,
      attributes: `map('user.id', concat('user-', toString(${hash(10)} % 20000)), 'http.route', concat('/', service, '/{id}'), 'thread.name',
    concat('worker-', toString(h % 16)), 'code.function.name', concat(service, '.handle', toString(h % 8)), 'request.attempt', toString(1 + h % 3),
    'http.request.method', ${oneOf(METHODS, 'h')}, 'peer.service', ${oneOf(SERVICES, 'intDiv(h, 64)')})`,
      attribute_types: `'ssssiss'`,
      ...RESOURCE,
    },
  };
}

/** Gauges with two decimals, and counters of whole numbers, half of them sent as integers; a metric is of one kind. */
function points(order: RowsOrder) {
  const total = 'toInt64(tick * (10 + series % 90) + h % 10)';
  return {
    with: `n % ${SERIES} AS series, intDiv(n, ${SERIES}) AS tick, series % 6 AS tenant_number, intDiv(series, 6) % 20 AS service_index,
  1 + service_index AS service_number, ${SERVICES}[service_number] AS service, intDiv(series, 120) % 5 AS pod, intDiv(series, 600) AS metric, metric % 3 AS kind,
  ${hash(3)} AS h, ${startNs(order)} + toInt64(tick * ${SERIES} * ${nsPerRow(order)}) + toInt64(cityHash64(series) % 1000000000) AS start`,
    columns: {
      ...scope('tenant_number', order.first),
      timestamp: 'fromUnixTimestamp64Nano(start)',
      start_timestamp: `fromUnixTimestamp64Nano(${startNs(order)} + toInt64(cityHash64(series) % 1000000000))`,
      service_name: 'service',
      metric_name: `concat(['http.server','process','jvm','db.client','queue'][1 + metric % 5], '.', if(metric < 5, 'requests', 'usage'))`,
      metric_type: 'if(kind = 0, 1, 2)',
      unit: `if(kind = 0, '1', 'By')`,
      aggregation_temporality: 'if(kind = 0, 0, 2)',
      is_monotonic: 'kind != 0',
      attributes: `map('http.route', concat('/', service), 'state', ['used', 'free', 'idle'][1 + series % 3])`,
      attribute_types: `'ss'`,
      value: `multiIf(h % 2000000 = 0, 1e12, kind = 0, round(50 + 40 * sin(tick / 500 + series) + (h % 100) / 100, 2), toFloat64(${total}))`,
      value_int: `if(kind = 2, ${total}, 0)`,
      value_type: 'if(kind = 2, 2, 1)',
      ...RESOURCE,
    },
  };
}

/** Cumulative, ten buckets, 20 services of six: one metric of 120 series. */
function histograms(order: RowsOrder) {
  const bucket = `toUInt64((tick + 1) * (1 + cityHash64(series, i) % 20))`;
  return {
    with: `n % ${HISTOGRAM_SERIES} AS series, intDiv(n, ${HISTOGRAM_SERIES}) AS tick, series % 6 AS tenant_number, intDiv(series, 6) % 20 AS service_index,
  1 + service_index AS service_number, ${SERVICES}[service_number] AS service, 1 AS pod,
  ${startNs(order)} + toInt64(tick * ${HISTOGRAM_SERIES} * ${nsPerRow(order)}) + toInt64(cityHash64(series) % 1000000000) AS start,
  arrayMap(i -> ${bucket}, range(10)) AS counts`,
    columns: {
      ...scope('tenant_number', order.first),
      timestamp: 'fromUnixTimestamp64Nano(start)',
      start_timestamp: `fromUnixTimestamp64Nano(${startNs(order)} + toInt64(cityHash64(series) % 1000000000))`,
      service_name: 'service',
      metric_name: `'${HISTOGRAM}'`,
      metric_type: '3',
      unit: `'ms'`,
      aggregation_temporality: '2',
      attributes: `map('http.route', concat('/', service), 'http.request.method', ${oneOf(METHODS, 'tenant_number')})`,
      attribute_types: `'ss'`,
      count: 'arraySum(counts)',
      sum: 'toFloat64(arraySum(counts) * 60)',
      explicit_bounds: '[5, 10, 25, 50, 75, 100, 250, 500, 1000]',
      bucket_counts: 'counts',
      ...RESOURCE,
    },
  };
}

const MAKE = { traces: spans, logs, metrics: points, histograms };

/** What is made: `histograms` are points of `telemetry_metrics`, too. */
export type Made = Signal | 'histograms';

/** Columns and the SELECT that makes their values. */
export function telemetryRows(kind: Made, order: RowsOrder): { columns: string; select: string } {
  const made = MAKE[kind](order);
  const expressions = Object.values(made.columns).map((sql) => `  ${sql}`);
  return {
    columns: Object.keys(made.columns).join(', '),
    select: `WITH ${order.from} + number AS n, ${made.with}\nSELECT\n${expressions.join(',\n')}\nFROM numbers(${order.count})`,
  };
}
