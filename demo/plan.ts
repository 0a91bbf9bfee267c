import { type Attributes, SpanKind } from '@opentelemetry/api';
import { type AnyValueMap, SeverityNumber } from '@opentelemetry/api-logs';
import { type Fault, OPERATIONS, type Operation, type Step } from './operations.js';
import type { Random } from './random.js';
import * as semantics from './semantics.js';
import type { Shopper } from './shopper.js';
import type { ServiceName } from './topology.js';

/** What went wrong, on its way from where it happened to the shopper. */
export interface Failure {
  type: string;
  message: string;
  status: number;
}

export interface PlannedLog {
  atMs: number;
  severity: SeverityNumber;
  body: string | AnyValueMap;
  attributes?: Attributes;
}

/** A span to be, with all that happens in it. Times are milliseconds after the start of the request. */
export interface PlannedSpan {
  service: ServiceName;
  operation: string;
  name: string;
  kind: SpanKind;
  startMs: number;
  endMs: number;
  attributes: Attributes;
  failure?: Failure;
  /** The failure happened here, so the exception is recorded here. */
  thrownHere?: true;
  events: { name: string; atMs: number; attributes: Attributes }[];
  logs: PlannedLog[];
  children: PlannedSpan[];
  counts?: Operation['counts'];
}

const NETWORK_MS = 0.7;
const SLOW_MS = 500;
const FRAMEWORK_FRAMES =
  '    at handle (/app/server.js:88:17)\n    at process.processTicks (node:internal/process:95:5)';

/**
 * Plans one request: which spans, when, what fails. Nothing is sent and no clock is read.
 *
 * @param operation a key of OPERATIONS
 */
export function planRequest(operation: string, shopper: Shopper, random: Random): PlannedSpan {
  return new Planner(shopper, random).operation(operation, 0);
}

/** When the last span of the request ends. */
export function lastEndMs(span: PlannedSpan): number {
  return Math.max(span.endMs, ...span.children.map(lastEndMs));
}

export function stackOf(failure: Failure, service: ServiceName): string {
  return `${failure.type}: ${failure.message}\n    at ${service} (/app/${service}/main.js:${failure.message.length}:9)\n${FRAMEWORK_FRAMES}`;
}

class Planner {
  constructor(
    private readonly shopper: Shopper,
    private readonly random: Random,
  ) {}

  /** The callee's side: a SERVER or CONSUMER span. */
  operation(name: string, startMs: number): PlannedSpan {
    const { shopper, random } = this;
    const operation = OPERATIONS[name];
    const consumer = operation.protocol === 'consumer';
    const span = this.begin(operation.service, name, consumer ? SpanKind.CONSUMER : SpanKind.SERVER, startMs);
    const ownMs = random.around(operation.ownMs);
    const own = this.fault(operation.faults);
    let atMs = startMs + ownMs * 0.4;
    if (own.failure) this.throwHere(span, own.failure, atMs);
    else atMs = this.steps(span, operation.steps, atMs);
    span.endMs = atMs + ownMs * 0.6 + own.slowMs;
    const status = span.failure?.status ?? (name.startsWith('POST /cart') ? 201 : 200);
    if (operation.protocol === 'http') {
      span.attributes = semantics.httpServer(name, operation.service, shopper, status);
      span.name = name;
    } else if (consumer) {
      span.attributes = semantics.messaging(name.split(' ')[0], 'process', random);
    } else span.attributes = semantics.grpc(name, operation.service, status);
    Object.assign(span.attributes, semantics.shop(name, shopper));
    this.finish(span, operation);
    return span;
  }

  private begin(service: ServiceName, operation: string, kind: SpanKind, startMs: number): PlannedSpan {
    const empty = { attributes: {}, events: [], logs: [], children: [] };
    return { service, operation, name: operation, kind, startMs, endMs: startMs, ...empty };
  }

  /** Plans steps one after the other; returns when the last one is over. */
  private steps(span: PlannedSpan, steps: Step[], startMs: number): number {
    let atMs = startMs;
    for (const step of steps) {
      if ('together' in step) {
        const ends = step.together.map((each) => this.steps(span, [each], startMs));
        atMs = Math.max(...ends);
      } else {
        const child = this.step(span, step, atMs);
        span.children.push(child);
        atMs = child.endMs + 0.05;
        if (child.failure) this.notice(span, child.failure, 'optional' in step, atMs);
      }
      if (span.failure) break;
    }
    return atMs;
  }

  /** A callee failed: go on without it, or fail as well. */
  private notice(span: PlannedSpan, failure: Failure, optional: boolean, atMs: number): void {
    if (!optional) {
      span.failure = failure;
      return;
    }
    span.events.push({ name: 'fallback', atMs, attributes: { 'shop.fallback.reason': failure.message } });
    const body = `Going on without an optional part: ${failure.message}`;
    span.logs.push({ atMs, severity: SeverityNumber.WARN, body, attributes: { 'error.type': failure.type } });
  }

  private step(span: PlannedSpan, step: Exclude<Step, { together: Step[] }>, startMs: number): PlannedSpan {
    if ('call' in step) return this.call(span, step.call, startMs);
    if ('publish' in step) return this.publish(span, step, startMs);
    const { service } = span;
    const work = 'work' in step;
    const child = this.begin(service, span.operation, work ? SpanKind.INTERNAL : SpanKind.CLIENT, startMs);
    const { failure, slowMs } = this.fault(step.faults);
    child.endMs = startMs + this.random.around(step.ms) + slowMs;
    if (failure) this.throwHere(child, failure, child.endMs);
    if ('work' in step) {
      child.name = step.work;
    } else if ('query' in step) {
      child.name = step.system === 'redis' ? step.query : `${step.query} ${step.on}`;
      child.attributes = semantics.database(step.system, step.query, step.on, service);
      this.logQuery(child);
    } else {
      child.name = step.thirdParty;
      child.attributes = semantics.thirdParty(step.thirdParty, step.host, failure?.status ?? 200);
      child.events.push({
        name: 'first byte',
        atMs: child.endMs - 1,
        attributes: { 'network.peer.port': 443 },
      });
    }
    return child;
  }

  /** The caller's side of another operation: a CLIENT span around the callee's. */
  private call(span: PlannedSpan, name: string, startMs: number): PlannedSpan {
    const { service: target, protocol } = OPERATIONS[name];
    const child = this.begin(span.service, span.operation, SpanKind.CLIENT, startMs);
    const callee = this.operation(name, startMs + this.random.around(NETWORK_MS));
    child.children.push(callee);
    child.failure = callee.failure;
    child.endMs = callee.endMs + this.random.around(NETWORK_MS);
    const status = callee.failure?.status ?? 200;
    child.name = protocol === 'http' ? semantics.httpParts(name, this.shopper).method : name;
    child.attributes =
      protocol === 'http'
        ? semantics.httpClient(name, target, this.shopper, status)
        : semantics.grpc(name, target, status);
    return child;
  }

  /** A PRODUCER span; who listens in the same trace starts some time after it. */
  private publish(span: PlannedSpan, step: { publish: string; ms: number }, startMs: number): PlannedSpan {
    const child = this.begin(span.service, span.operation, SpanKind.PRODUCER, startMs);
    child.name = `${step.publish} send`;
    child.attributes = semantics.messaging(step.publish, 'send', this.random);
    child.endMs = startMs + this.random.around(step.ms);
    child.children.push(this.operation(`${step.publish} process`, child.endMs + this.random.around(60)));
    return child;
  }

  private fault(faults: Fault[] = []): { failure?: Failure; slowMs: number } {
    const fault = faults.find(({ chance }) => this.random.chance(chance));
    return { failure: fault?.error, slowMs: fault?.slowMs ? this.random.around(fault.slowMs) : 0 };
  }

  private throwHere(span: PlannedSpan, failure: Failure, atMs: number): void {
    span.failure = failure;
    span.thrownHere = true;
    span.logs.push({
      atMs,
      severity: failure.status >= 500 ? SeverityNumber.ERROR : SeverityNumber.WARN,
      body: failure.message,
      attributes: {
        'exception.type': failure.type,
        'exception.message': failure.message,
        'exception.stacktrace': stackOf(failure, span.service),
      },
    });
  }

  private logQuery(span: PlannedSpan): void {
    const tookMs = span.endMs - span.startMs;
    const summary = `${span.name} took ${tookMs.toFixed(1)} ms`;
    if (tookMs > SLOW_MS) {
      const attributes = { 'db.query.summary': span.name, 'shop.duration_ms': tookMs, 'shop.slow': true };
      span.logs.push({
        atMs: span.endMs,
        severity: SeverityNumber.WARN2,
        body: `Slow query: ${summary}`,
        attributes,
      });
    } else if (this.random.chance(0.1)) {
      span.logs.push({ atMs: span.endMs, severity: SeverityNumber.DEBUG, body: summary });
    } else if (this.random.chance(0.02)) {
      span.logs.push({
        atMs: span.startMs,
        severity: SeverityNumber.TRACE,
        body: 'connection taken from the pool',
      });
    }
  }

  private finish(span: PlannedSpan, operation: Operation): void {
    if (!span.failure) {
      span.counts = operation.counts;
      if (operation.log)
        span.logs.push({ atMs: span.endMs, severity: SeverityNumber.INFO, body: this.fill(operation.log) });
    }
    if (span.service === 'frontend') span.logs.push(this.accessLog(span));
  }

  private accessLog(span: PlannedSpan): PlannedLog {
    const status = span.failure?.status ?? 200;
    const severity =
      status >= 500 ? SeverityNumber.ERROR : status >= 400 ? SeverityNumber.WARN : SeverityNumber.INFO;
    const { method, path } = semantics.httpParts(span.operation, this.shopper);
    const body = {
      method,
      path,
      status,
      duration_ms: span.endMs - span.startMs,
      user: { id: this.shopper.user },
    };
    return { atMs: span.endMs, severity, body, attributes: { 'log.iostream': 'stdout' } };
  }

  private fill(text: string): string {
    return text.replace(/\{(\w+)\}/g, (_, name: keyof Shopper) => String(this.shopper[name]));
  }
}
