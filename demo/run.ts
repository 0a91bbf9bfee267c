import { setTimeout as sleep } from 'node:timers/promises';
import { SeverityNumber } from '@opentelemetry/api-logs';
import { CardTerminal } from './card-terminal.js';
import { Delivery, type Totals } from './delivery.js';
import { emitRequest, type Watch } from './emit.js';
import { JOURNEY } from './operations.js';
import type { DemoOptions } from './options.js';
import { Parcels } from './parcels.js';
import { lastEndMs, planRequest } from './plan.js';
import { Random } from './random.js';
import { idsFrom, Service } from './service.js';
import { someShopper } from './shopper.js';
import { SERVICES, type ServiceName } from './topology.js';

const TICK_MS = 50;
const SHIP_EVERY_MS = 3000;
const TERMINAL_EVERY_MS = 5000;
/** After a pause of the machine the shop does not catch up on more than this. */
const MAX_CATCH_UP_MS = 1000;

export interface DemoResult extends Totals {
  /** Traces worth a look: the slowest request, and the one that failed worst. */
  slowest: { traceId: string; ms: number } | undefined;
  failed: { traceId: string; message: string; status: number } | undefined;
}

/**
 * Runs the shop until its duration is over or `stop` aborts, then flushes.
 *
 * @param onProgress called about ten times a second with the running totals
 */
export async function runDemo(
  options: DemoOptions,
  stop: AbortSignal,
  onProgress: (totals: Totals) => void = () => {},
): Promise<DemoResult> {
  const shop = new Shop(options);
  const startedAt = performance.now();
  let last = startedAt;
  let owed = 0;
  shop.open();
  while (!stop.aborted && last - startedAt < options.durationMs) {
    await sleep(TICK_MS, undefined, { signal: stop }).catch(() => {});
    const now = performance.now();
    owed += (Math.min(now - last, MAX_CATCH_UP_MS) / 1000) * options.rate;
    last = now;
    for (; owed >= 1 && !stop.aborted; owed--) shop.request();
    shop.occasionally(now);
    onProgress(shop.delivery.totals);
  }
  return shop.close();
}

class Shop {
  readonly delivery: Delivery;
  private readonly random: Random;
  private readonly services: Record<ServiceName, Service>;
  private readonly parcels: Parcels;
  private readonly terminal: CardTerminal;
  private shippedAt = performance.now();
  private terminalAt = performance.now();
  private slowest: DemoResult['slowest'];
  private failed: DemoResult['failed'];

  constructor(options: DemoOptions) {
    this.random = new Random(options.seed);
    this.delivery = new Delivery(options);
    const ids = idsFrom(this.random);
    const names = Object.keys(SERVICES) as ServiceName[];
    this.services = Object.fromEntries(
      names.map((name) => [name, new Service(name, this.delivery, ids, this.random)]),
    ) as Record<ServiceName, Service>;
    this.parcels = new Parcels(this.services, this.random);
    this.terminal = new CardTerminal(this.delivery, options.endpoint);
  }

  open(): void {
    for (const service of Object.values(this.services)) {
      const { port, version } = SERVICES[service.name];
      service.logger.emit({
        severityNumber: SeverityNumber.INFO,
        severityText: 'INFO',
        eventName: 'service.started',
        body: `${service.name} ${version} listens on port ${port}`,
        attributes: { 'server.port': port },
      });
    }
  }

  /** One request of a shopper, which ends now. */
  request(): void {
    const shopper = someShopper(this.random);
    const planned = planRequest(this.random.weighted(JOURNEY), shopper, this.random);
    const watch: Watch = (span, context) => {
      this.parcels.notice(span, context, shopper);
      this.terminal.notice(span, context, shopper.amount);
    };
    const startUnixMs = Math.floor(Date.now() - lastEndMs(planned));
    const traceId = emitRequest(planned, startUnixMs, this.services, shopper, watch);
    this.delivery.totals.requests++;
    const ms = planned.endMs - planned.startMs;
    if (ms > (this.slowest?.ms ?? 0)) this.slowest = { traceId, ms };
    const { failure } = planned;
    if (failure && failure.status >= (this.failed?.status ?? 0)) this.failed = { traceId, ...failure };
  }

  /** What happens on a schedule of its own. */
  occasionally(now: number): void {
    if (now - this.shippedAt > SHIP_EVERY_MS) {
      this.shippedAt = now;
      this.parcels.ship(Date.now(), () => {});
    }
    if (now - this.terminalAt > TERMINAL_EVERY_MS) {
      this.terminalAt = now;
      void this.terminal.send();
    }
  }

  async close(): Promise<DemoResult> {
    this.parcels.ship(Date.now(), () => {});
    const services = Object.values(this.services);
    await Promise.all([this.terminal.send(), ...services.map((service) => service.flush())]).catch(
      (error: Error) => this.delivery.failed(error.message),
    );
    await Promise.all(services.map((service) => service.shutdown())).catch(() => {});
    await this.delivery.close();
    return { ...this.delivery.totals, slowest: this.slowest, failed: this.failed };
  }
}
