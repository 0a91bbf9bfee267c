import type { Attributes } from '@opentelemetry/api';
import type { Random } from './random.js';
import type { Shopper } from './shopper.js';
import { SERVICES, type ServiceName } from './topology.js';

/** Attributes by OpenTelemetry's semantic conventions. */

/** google.rpc codes of HTTP statuses. */
const GRPC_CODES: Record<number, number> = {
  400: 3,
  402: 9,
  404: 5,
  409: 10,
  422: 3,
  500: 13,
  503: 14,
  504: 4,
};

const SQL_TEXTS: Record<string, string> = {
  'SELECT products': 'SELECT id, name, price_cents, stock FROM products WHERE id = ANY($1) ORDER BY name',
  'UPDATE stock':
    'UPDATE stock SET reserved = reserved + $2 WHERE product_id = $1 AND available - reserved >= $2',
  'INSERT orders':
    'INSERT INTO orders (id, user_id, amount_cents, currency, placed_at) VALUES ($1, $2, $3, $4, now())',
  'INSERT shipments': 'INSERT INTO shipments (order_id, carrier, label) VALUES ($1, $2, $3)',
};

/** `METHOD /route` taken apart; the path has the shopper's product in it. */
export function httpParts(
  operation: string,
  shopper: Shopper,
): { method: string; route: string; path: string } {
  const [method, route] = operation.split(' ');
  return { method, route, path: route.replace('{id}', shopper.product) };
}

export function httpServer(
  operation: string,
  service: ServiceName,
  shopper: Shopper,
  status: number,
): Attributes {
  const { method, route, path } = httpParts(operation, shopper);
  const outermost = service === 'frontend';
  return {
    'http.request.method': method,
    'http.route': route,
    'http.response.status_code': status,
    'url.scheme': outermost ? 'https' : 'http',
    'url.path': path,
    'server.address': outermost ? 'shop.example' : service,
    'server.port': SERVICES[service].port,
    'network.protocol.version': outermost ? '2' : '1.1',
    ...(outermost && { 'client.address': shopper.address, 'user_agent.original': shopper.userAgent }),
    ...(route.endsWith('search') && { 'url.query': `q=${encodeURIComponent(shopper.search)}` }),
    ...(status >= 500 && { 'error.type': String(status) }),
  };
}

export function httpClient(
  operation: string,
  target: ServiceName,
  shopper: Shopper,
  status: number,
): Attributes {
  const { method, path } = httpParts(operation, shopper);
  return {
    'http.request.method': method,
    'http.response.status_code': status,
    'url.full': `http://${target}:${SERVICES[target].port}${path}`,
    'server.address': target,
    'server.port': SERVICES[target].port,
    ...(status >= 400 && { 'error.type': String(status) }),
  };
}

export function grpc(operation: string, target: ServiceName, status: number): Attributes {
  const [service, method] = operation.split('/');
  return {
    'rpc.system': 'grpc',
    'rpc.service': service,
    'rpc.method': method,
    'rpc.grpc.status_code': status < 400 ? 0 : (GRPC_CODES[status] ?? 2),
    'server.address': target,
    'server.port': SERVICES[target].port,
  };
}

export function database(
  system: 'postgresql' | 'redis',
  query: string,
  on: string,
  service: ServiceName,
): Attributes {
  const redis = system === 'redis';
  return {
    'db.system.name': system,
    'db.namespace': redis ? on : `${service}.public`,
    'db.operation.name': query,
    ...(!redis && { 'db.collection.name': on, 'db.query.summary': `${query} ${on}` }),
    'db.query.text': redis ? `${query} cart:?` : SQL_TEXTS[`${query} ${on}`],
    'server.address': redis ? 'redis' : `postgres-${service}`,
    'server.port': redis ? 6379 : 5432,
  };
}

export function thirdParty(method: string, host: string, status: number): Attributes {
  return {
    'http.request.method': method,
    'http.response.status_code': status,
    'url.full': `https://${host}/v1/requests`,
    'server.address': host,
    'server.port': 443,
    ...(status >= 400 && { 'error.type': String(status) }),
  };
}

export function messaging(topic: string, operation: 'send' | 'process', random: Random): Attributes {
  return {
    'messaging.system': 'kafka',
    'messaging.destination.name': topic,
    'messaging.operation.name': operation,
    'messaging.operation.type': operation,
    'messaging.destination.partition.id': String(random.integer(0, 5)),
    'messaging.kafka.offset': random.integer(10_000, 99_999),
    'messaging.message.body.size': random.integer(300, 1500),
    ...(operation === 'process' && { 'messaging.consumer.group.name': `${topic}-workers` }),
  };
}

/** What the shop itself writes on its own spans; every type an attribute can have. */
export function shop(operation: string, shopper: Shopper): Attributes {
  const about: Attributes = { 'enduser.id': shopper.user, 'session.id': shopper.session };
  if (operation.includes('Cart/')) about['shop.user.returning'] = shopper.returning;
  if (/AddItem|GetProduct|ForProduct/.test(operation)) about['shop.product.id'] = shopper.product;
  if (/PlaceOrder|Charge|Reserve|parcels/.test(operation)) {
    about['shop.order.id'] = shopper.order;
    about['shop.order.amount'] = shopper.amount;
    about['shop.order.currency'] = shopper.currency;
    about['shop.order.products'] = shopper.products;
  }
  return about;
}
