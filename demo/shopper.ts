import type { Random } from './random.js';
import { PRODUCTS } from './topology.js';

/** Who a request is for and what about. */
export interface Shopper {
  user: string;
  session: string;
  returning: boolean;
  product: string;
  products: string[];
  order: string;
  amount: number;
  currency: string;
  address: string;
  userAgent: string;
  search: string;
}

const AGENTS = [
  'Mozilla/5.0 (X11; Linux x86_64; rv:138.0) Gecko/20100101 Firefox/138.0',
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15',
  'Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/136.0 Mobile Safari/537.36',
];
const CURRENCIES = ['EUR', 'EUR', 'USD', 'GBP', 'JPY'];

export function someShopper(random: Random): Shopper {
  const basket = Array.from({ length: random.integer(1, 4) }, () => random.pick(PRODUCTS));
  return {
    user: `user-${random.integer(1, 5000)}`,
    session: random.hex(16),
    returning: random.chance(0.6),
    product: basket[0].id,
    products: basket.map((product) => product.id),
    order: `A-${random.integer(100_000, 999_999)}`,
    amount: Number(basket.reduce((sum, product) => sum + product.price, 0).toFixed(2)),
    currency: random.pick(CURRENCIES),
    address: `203.0.113.${random.integer(1, 254)}`,
    userAgent: random.pick(AGENTS),
    search: random.pick(['tea', 'blue mug', 'gift', 'grüner Tee', '急須', 'honey 🍯']),
  };
}
