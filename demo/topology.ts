/** The shop as data: its services and what it sells. */

export type ServiceName =
  | 'frontend'
  | 'api-gateway'
  | 'cart'
  | 'checkout'
  | 'payment'
  | 'inventory'
  | 'shipping'
  | 'recommendations';

export interface ServiceDescription {
  version: string;
  language: string;
  runtime: string;
  port: number;
  /** How it reports sums and histograms. */
  temporality: 'cumulative' | 'delta';
}

const cumulative = 'cumulative';
export const SERVICES: Record<ServiceName, ServiceDescription> = {
  frontend: {
    version: '3.14.0',
    language: 'nodejs',
    runtime: 'node 22.11',
    port: 8080,
    temporality: cumulative,
  },
  'api-gateway': {
    version: '1.9.2',
    language: 'go',
    runtime: 'go 1.24',
    port: 8000,
    temporality: cumulative,
  },
  cart: { version: '2.3.1', language: 'dotnet', runtime: '.NET 9.0', port: 7070, temporality: cumulative },
  checkout: {
    version: '5.0.4',
    language: 'java',
    runtime: 'OpenJDK 21',
    port: 5050,
    temporality: cumulative,
  },
  payment: {
    version: '4.2.0',
    language: 'nodejs',
    runtime: 'node 22.11',
    port: 50051,
    temporality: cumulative,
  },
  inventory: { version: '1.17.3', language: 'go', runtime: 'go 1.24', port: 9000, temporality: cumulative },
  shipping: { version: '0.8.5', language: 'rust', runtime: 'rust 1.84', port: 9100, temporality: 'delta' },
  recommendations: {
    version: '2.0.0',
    language: 'python',
    runtime: 'CPython 3.13',
    port: 9200,
    temporality: 'delta',
  },
};

export const PRODUCTS = [
  'kettle',
  'teapot',
  'mug',
  'strainer',
  'green-tea',
  'black-tea',
  'honey',
  'biscuits',
].map((name, index) => ({
  id: `${1000 + index}`,
  name,
  price: [39.9, 24.5, 8, 5.25, 7.4, 6.9, 9.95, 3.2][index],
}));
