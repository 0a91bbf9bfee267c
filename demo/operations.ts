import type { ServiceName } from './topology.js';

/** What each service can do, what that calls, what goes wrong how often, and what shoppers do. */

/** What goes wrong with a step or an operation, and how often. */
export interface Fault {
  chance: number;
  /** Takes about this much longer. */
  slowMs?: number;
  /** Throws; `status` is what an HTTP caller gets. */
  error?: { type: string; message: string; status: number };
}

export type Step =
  /** Another operation, through a CLIENT span. `optional`: the caller goes on without it. */
  | { call: string; optional?: true }
  | { query: string; system: 'postgresql' | 'redis'; on: string; ms: number; faults?: Fault[] }
  /** An HTTP request to someone who sends no telemetry. */
  | { thirdParty: string; host: string; ms: number; faults?: Fault[] }
  | { publish: string; ms: number }
  | { work: string; ms: number; faults?: Fault[] }
  | { together: Step[] };

export interface Operation {
  service: ServiceName;
  protocol: 'http' | 'grpc' | 'consumer';
  /** Median of its own work between the steps. */
  ownMs: number;
  steps: Step[];
  /** Said at the end when all went well; {names} are the shopper's. */
  log?: string;
  /** What the shop counts when all went well. */
  counts?: 'order' | 'cart-add' | 'reservation' | 'shipment';
  faults?: Fault[];
}

const http = (
  service: ServiceName,
  ownMs: number,
  steps: Step[],
  more: Partial<Operation> = {},
): Operation => ({
  service,
  protocol: 'http',
  ownMs,
  steps,
  ...more,
});
const grpc = (
  service: ServiceName,
  ownMs: number,
  steps: Step[],
  more: Partial<Operation> = {},
): Operation => ({
  ...http(service, ownMs, steps, more),
  protocol: 'grpc',
});
const sql = (query: string, on: string, ms: number, faults?: Fault[]): Step => ({
  query,
  system: 'postgresql',
  on,
  ms,
  faults,
});
const redis = (query: string, ms: number, faults?: Fault[]): Step => ({
  query,
  system: 'redis',
  on: '0',
  ms,
  faults,
});

/** Keyed by `METHOD /route` of the frontend and gateway, `package.Service/Method` for gRPC, `topic process` for consumers. */
export const OPERATIONS: Record<string, Operation> = {
  'GET /': http('frontend', 9, [{ call: 'GET /api/home' }, { work: 'render home', ms: 6 }]),
  'GET /product/{id}': http('frontend', 8, [
    { call: 'GET /api/products/{id}' },
    { work: 'render product', ms: 5 },
  ]),
  'GET /search': http('frontend', 7, [{ call: 'GET /api/search' }, { work: 'render results', ms: 7 }]),
  'GET /cart': http('frontend', 5, [{ call: 'GET /api/cart' }]),
  'POST /cart': http('frontend', 5, [{ call: 'POST /api/cart' }]),
  'POST /checkout': http('frontend', 7, [{ call: 'POST /api/checkout' }, { work: 'render thanks', ms: 4 }]),

  'GET /api/home': http('api-gateway', 3, [
    {
      together: [
        { call: 'shop.Inventory/ListProducts' },
        { call: 'shop.Recommendations/ForUser', optional: true },
        { call: 'shop.Cart/GetCart', optional: true },
      ],
    },
  ]),
  'GET /api/products/{id}': http('api-gateway', 3, [
    {
      together: [
        { call: 'shop.Inventory/GetProduct' },
        { call: 'shop.Recommendations/ForProduct', optional: true },
      ],
    },
  ]),
  'GET /api/search': http('api-gateway', 3, [{ call: 'shop.Inventory/Search' }], {
    faults: [
      { chance: 0.01, error: { type: 'BadRequestException', message: 'query is empty', status: 400 } },
    ],
  }),
  'GET /api/cart': http('api-gateway', 2, [{ call: 'shop.Cart/GetCart' }]),
  'POST /api/cart': http('api-gateway', 2, [{ call: 'shop.Cart/AddItem' }]),
  'POST /api/checkout': http('api-gateway', 3, [{ call: 'shop.Checkout/PlaceOrder' }]),

  'shop.Cart/GetCart': grpc('cart', 2, [
    redis('HGETALL', 0.8, [
      {
        chance: 0.004,
        error: {
          type: 'StackExchange.Redis.RedisConnectionException',
          message: 'No connection is available',
          status: 503,
        },
      },
    ]),
  ]),
  'shop.Cart/AddItem': grpc('cart', 3, [redis('HSET', 0.9), redis('EXPIRE', 0.5)], {
    log: 'Product {product} added to the cart of {user}',
    counts: 'cart-add',
  }),
  'shop.Cart/EmptyCart': grpc('cart', 1, [redis('DEL', 0.6)]),

  'shop.Inventory/ListProducts': grpc('inventory', 3, [sql('SELECT', 'products', 6)]),
  'shop.Inventory/GetProduct': grpc('inventory', 2, [redis('GET', 0.6), sql('SELECT', 'products', 3)], {
    faults: [{ chance: 0.01, error: { type: 'NotFound', message: 'no such product', status: 404 } }],
  }),
  'shop.Inventory/Search': grpc('inventory', 4, [
    sql('SELECT', 'products', 25, [{ chance: 0.06, slowMs: 1200 }]),
  ]),
  'shop.Inventory/Reserve': grpc(
    'inventory',
    3,
    [
      sql('UPDATE', 'stock', 5, [
        { chance: 0.02, slowMs: 900 },
        {
          chance: 0.02,
          error: { type: 'OutOfStockError', message: 'not enough pieces in stock', status: 409 },
        },
        { chance: 0.004, error: { type: 'pq.Error', message: 'deadlock detected', status: 500 } },
      ]),
    ],
    { counts: 'reservation' },
  ),

  'shop.Recommendations/ForUser': grpc('recommendations', 12, [
    { work: 'rank products', ms: 18, faults: [{ chance: 0.03, slowMs: 700 }] },
  ]),
  'shop.Recommendations/ForProduct': grpc('recommendations', 9, [
    {
      work: 'rank products',
      ms: 15,
      faults: [
        {
          chance: 0.03,
          error: { type: 'TimeoutError', message: 'model server did not answer in 200 ms', status: 504 },
        },
      ],
    },
  ]),

  'shop.Checkout/PlaceOrder': grpc(
    'checkout',
    8,
    [
      { call: 'shop.Cart/GetCart' },
      { call: 'shop.Inventory/Reserve' },
      { call: 'shop.Payment/Charge' },
      sql('INSERT', 'orders', 4),
      { publish: 'orders', ms: 3 },
      { call: 'shop.Cart/EmptyCart', optional: true },
    ],
    { log: 'Order {order} of {user} placed: {amount} {currency}', counts: 'order' },
  ),
  'shop.Payment/Charge': grpc(
    'payment',
    6,
    [
      { work: 'check for fraud', ms: 9 },
      {
        thirdParty: 'POST',
        host: 'api.card-network.example',
        ms: 120,
        faults: [
          { chance: 0.04, slowMs: 2200 },
          {
            chance: 0.05,
            error: { type: 'CardDeclinedError', message: 'card declined: insufficient funds', status: 402 },
          },
          {
            chance: 0.01,
            error: { type: 'ProviderUnavailableError', message: 'connect ETIMEDOUT', status: 503 },
          },
        ],
      },
    ],
    { log: 'Charged {amount} {currency} for order {order}' },
  ),

  'orders process': {
    service: 'inventory',
    protocol: 'consumer',
    ownMs: 4,
    steps: [sql('UPDATE', 'stock', 5)],
  },
  'parcels process': {
    service: 'shipping',
    protocol: 'consumer',
    ownMs: 12,
    steps: [
      { work: 'plan route', ms: 30 },
      {
        thirdParty: 'POST',
        host: 'labels.carrier.example',
        ms: 180,
        faults: [
          { chance: 0.05, slowMs: 3000 },
          { chance: 0.03, error: { type: 'CarrierError', message: 'address not served', status: 422 } },
        ],
      },
      sql('INSERT', 'shipments', 6),
    ],
    counts: 'shipment',
  },
};

/** What shoppers do, and how often. */
export const JOURNEY = [
  { weight: 30, item: 'GET /' },
  { weight: 34, item: 'GET /product/{id}' },
  { weight: 12, item: 'GET /search' },
  { weight: 8, item: 'GET /cart' },
  { weight: 10, item: 'POST /cart' },
  { weight: 6, item: 'POST /checkout' },
];
