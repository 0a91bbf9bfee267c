import {
  type Attributes,
  type Context,
  type HrTime,
  type Link,
  ROOT_CONTEXT,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { SeverityNumber } from '@opentelemetry/api-logs';
import { type PlannedSpan, stackOf } from './plan.js';
import type { Service } from './service.js';
import type { Shopper } from './shopper.js';
import type { ServiceName } from './topology.js';

/** Called with each span as it goes out. */
export type Watch = (span: PlannedSpan, context: SpanContext) => void;

/**
 * Sends a planned request through the SDKs of the services that take part in it, under its planned times.
 *
 * @param startUnixMs when the request began
 * @returns the trace id
 */
export function emitRequest(
  root: PlannedSpan,
  startUnixMs: number,
  services: Record<ServiceName, Service>,
  shopper: Shopper,
  watch: Watch,
  links: Link[] = [],
): string {
  const emitter = new Emitter(startUnixMs, services, shopper, watch);
  return emitter.span(root, ROOT_CONTEXT, links).traceId;
}

class Emitter {
  constructor(
    private readonly startUnixMs: number,
    private readonly services: Record<ServiceName, Service>,
    private readonly shopper: Shopper,
    private readonly watch: Watch,
  ) {}

  span(planned: PlannedSpan, parent: Context, links: Link[] = []): SpanContext {
    const { tracer, instruments } = this.services[planned.service];
    const { name, kind, attributes } = planned;
    const span = tracer.startSpan(
      name,
      { kind, attributes, links, startTime: this.at(planned.startMs) },
      parent,
    );
    const context = trace.setSpan(parent, span);
    for (const child of planned.children) this.span(child, context);
    for (const event of planned.events) span.addEvent(event.name, event.attributes, this.at(event.atMs));
    if (planned.failure) {
      const { failure } = planned;
      if (planned.thrownHere) {
        const exception = {
          name: failure.type,
          message: failure.message,
          stack: stackOf(failure, planned.service),
        };
        span.recordException(exception, this.at(planned.endMs));
      }
      // A server span is in error only when it is the server's fault.
      const isError = planned.kind !== SpanKind.SERVER || failure.status >= 500;
      if (isError) span.setStatus({ code: SpanStatusCode.ERROR, message: failure.message });
    } else if (planned.counts === 'order') span.setStatus({ code: SpanStatusCode.OK });
    this.logs(planned, context);
    span.end(this.at(planned.endMs));
    instruments.record(planned, this.shopper);
    this.watch(planned, span.spanContext());
    return span.spanContext();
  }

  private logs(planned: PlannedSpan, context: Context): void {
    const { logger } = this.services[planned.service];
    for (const { atMs, severity, body, attributes } of planned.logs) {
      logger.emit({
        timestamp: this.at(atMs),
        observedTimestamp: this.at(atMs + 0.2),
        severityNumber: severity,
        severityText: SeverityNumber[severity].replace(/\d$/, ''),
        body,
        attributes: { 'code.function.name': planned.operation, ...attributes } as Attributes,
        context,
      });
    }
  }

  /** Nanoseconds: a double cannot hold them since 1970. */
  private at(ms: number): HrTime {
    const wholeMs = Math.floor(ms);
    const unixMs = this.startUnixMs + wholeMs;
    return [Math.floor(unixMs / 1000), (unixMs % 1000) * 1_000_000 + Math.floor((ms - wholeMs) * 1_000_000)];
  }
}
