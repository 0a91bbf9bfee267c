import { type Link, type SpanContext, SpanKind } from '@opentelemetry/api';
import { emitRequest, type Watch } from './emit.js';
import { lastEndMs, type PlannedSpan, planRequest } from './plan.js';
import type { Random } from './random.js';
import type { Service } from './service.js';
import type { Shopper } from './shopper.js';
import type { ServiceName } from './topology.js';

const MAX_BATCH = 8;

/** Shipping takes placed orders in batches: one CONSUMER span, in a trace of its own, linked to every order's PRODUCER span. */
export class Parcels {
  private readonly waiting: { placed: SpanContext; shopper: Shopper }[] = [];

  constructor(
    private readonly services: Record<ServiceName, Service>,
    private readonly random: Random,
  ) {}

  /** Remembers an order when the span that published it goes by. */
  notice(span: PlannedSpan, context: SpanContext, shopper: Shopper): void {
    if (span.kind !== SpanKind.PRODUCER) return;
    this.waiting.push({ placed: context, shopper });
    this.services.shipping.instruments.parcelsWaiting(this.waiting.length);
  }

  /** Ships what is waiting, up to a batch. */
  ship(nowUnixMs: number, watch: Watch): void {
    const batch = this.waiting.splice(0, MAX_BATCH);
    if (batch.length === 0) return;
    const { shopper } = batch[0];
    const planned = planRequest('parcels process', shopper, this.random);
    planned.attributes['messaging.batch.message_count'] = batch.length;
    planned.attributes['shop.shipping.orders'] = batch.map((order) => order.shopper.order);
    const links: Link[] = batch.map(({ placed, shopper: buyer }) => ({
      context: placed,
      attributes: { 'shop.order.id': buyer.order, 'messaging.message.id': `${placed.spanId}-0` },
    }));
    emitRequest(planned, Math.floor(nowUnixMs - lastEndMs(planned)), this.services, shopper, watch, links);
    this.services.shipping.instruments.parcelsWaiting(this.waiting.length);
  }
}
