import { Agent, request } from 'node:http';
import { gzipSync } from 'node:zlib';
import { makeLogsBody, makeMetricsBody, makeTracesBody } from '../test/support/otlp-bodies.js';
import { bareRequest, sendBare } from './bare-sender.js';
import { framed, GrpcSender } from './grpc-sender.js';
import { quantile, sleep } from './process-stats.js';

/** What the parent process asks for: bodies of `itemsPerBody` items, all different, sent to `url`. */
export interface LoadOrder {
  url: string;
  key: string;
  /** Unset: HTTP by `node:http`; `bare`: HTTP by bare sockets, for what costs the client as little as can be. */
  transport?: 'http' | 'bare' | 'grpc';
  signal: 'traces' | 'logs' | 'metrics';
  bodies: number;
  itemsPerBody: number;
  gzip: boolean;
  /** Requests at a time, each on a connection of its own unless `sessions` says otherwise. */
  connections: number;
  /** gRPC: connections that the requests share. */
  sessions?: number;
  /** Items per second; undefined: as fast as answers come. */
  itemsPerSecond?: number;
  /** Send the bodies again and again, each time changed a little, until this long has passed. */
  seconds?: number;
  seed: number;
}

/** What came of it. */
export interface LoadReport {
  items: number;
  seconds: number;
  ackP50Ms: number;
  ackP99Ms: number;
  bytes: number;
  statuses: Record<string, number>;
  retryAfterMissing: number;
  /** Of the client itself. */
  cpuSeconds: number;
}

const MAKE = { traces: makeTracesBody, logs: makeLogsBody, metrics: makeMetricsBody };

/**
 * A body differs from its last sending by an unknown field at its end (number 1000, four bytes), which servers ignore:
 * a body that is the same byte by byte would be taken for a client's repetition and stored once.
 */
function numbered(body: Uint8Array, round: number): Buffer {
  const tail = Buffer.from([0xc5, 0x3e, 0, 0, 0, 0]);
  tail.writeUInt32LE(round, 2);
  return Buffer.concat([body, tail]);
}

function prepare(order: LoadOrder): Uint8Array[] {
  const nowMs = Date.now();
  return Array.from({ length: order.bodies }, (_, index) =>
    MAKE[order.signal]({ items: order.itemsPerBody, seed: order.seed + index, nowMs }),
  );
}

class Load {
  private readonly agent: Agent;
  private readonly grpc: GrpcSender | undefined;
  private readonly times: number[] = [];
  private readonly statuses: Record<string, number> = {};
  private retryAfterMissing = 0;
  private bytes = 0;
  private accepted = 0;

  constructor(private readonly order: LoadOrder) {
    this.agent = new Agent({ keepAlive: true, maxSockets: order.connections });
    if (order.transport !== 'grpc') return;
    this.grpc = new GrpcSender(order, order.sessions ?? order.connections);
  }

  private async call(sender: GrpcSender, message: Buffer): Promise<void> {
    const startedAt = performance.now();
    this.bytes += message.length;
    const { status, hasRetryInfo } = await sender.send(message);
    this.count(status, performance.now() - startedAt);
    if (status === '0') this.accepted++;
    else if (!hasRetryInfo) this.retryAfterMissing++;
  }

  private post(body: Buffer): Promise<void> {
    if (this.grpc) return this.call(this.grpc, body);
    const startedAt = performance.now();
    return new Promise((resolve) => {
      const headers: Record<string, string | number> = {
        'content-type': 'application/x-protobuf',
        'content-length': body.length,
        authorization: `Bearer ${this.order.key}`,
      };
      if (this.order.gzip) headers['content-encoding'] = 'gzip';
      const call = request(this.order.url, { method: 'POST', agent: this.agent, headers }, (response) => {
        response.resume();
        response.on('end', () => {
          this.count(String(response.statusCode), performance.now() - startedAt);
          if (response.statusCode === 200) this.accepted++;
          if (response.statusCode! >= 429 && !response.headers['retry-after']) this.retryAfterMissing++;
          resolve();
        });
      });
      call.on('error', (error: NodeJS.ErrnoException) => {
        this.count(error.code ?? error.message, performance.now() - startedAt);
        resolve();
      });
      this.bytes += body.length;
      call.end(body);
    });
  }

  private counted(bytes: Buffer): Buffer {
    this.bytes += bytes.length;
    return bytes;
  }

  private count(status: string, ms: number): void {
    this.statuses[status] = (this.statuses[status] ?? 0) + 1;
    this.times.push(ms);
  }

  /** Sends `total` bodies; `next(i)` gives the i-th. Paced bodies go out on time, however long answers take. */
  async run(total: number, next: (index: number) => Buffer): Promise<LoadReport> {
    const startedAt = performance.now();
    const cpuBefore = process.cpuUsage();
    const { itemsPerSecond, itemsPerBody, connections, seconds } = this.order;
    const over = () => seconds !== undefined && performance.now() - startedAt > seconds * 1000;
    let index = 0;
    if (this.order.transport === 'bare') {
      const nextRequest = () => (index < total && !over() ? this.counted(next(index++)) : undefined);
      await sendBare(new URL(this.order.url), connections, nextRequest, (status, ms, hasRetryAfter) => {
        this.count(status, ms);
        if (status[0] === '2') this.accepted++;
        else if (!hasRetryAfter) this.retryAfterMissing++;
      });
    } else if (itemsPerSecond) {
      const under: Promise<void>[] = [];
      for (; index < total && !over(); index++) {
        const due = startedAt + (index * itemsPerBody * 1000) / itemsPerSecond;
        const wait = due - performance.now();
        if (wait > 1) await sleep(wait);
        under.push(this.post(next(index)));
      }
      await Promise.all(under);
    } else {
      const lane = async () => {
        while (index < total && !over()) await this.post(next(index++));
      };
      await Promise.all(Array.from({ length: connections }, lane));
    }
    this.agent.destroy();
    this.grpc?.close();
    const { user, system } = process.cpuUsage(cpuBefore);
    return {
      items: this.accepted * itemsPerBody,
      seconds: (performance.now() - startedAt) / 1000,
      ackP50Ms: quantile(this.times, 0.5),
      ackP99Ms: quantile(this.times, 0.99),
      bytes: this.bytes,
      statuses: this.statuses,
      retryAfterMissing: this.retryAfterMissing,
      cpuSeconds: (user + system) / 1e6,
    };
  }
}

process.on('message', async (message: { prepare: LoadOrder } | 'go') => {
  if (message === 'go') return;
  const order = message.prepare;
  const bodies = prepare(order);
  const repeated = order.seconds !== undefined;
  const carried = (body: Buffer) => {
    if (order.transport === 'bare') return bareRequest(order, body);
    return order.transport === 'grpc' ? framed(body, order.gzip) : body;
  };
  const ready = bodies.map((body) => carried(order.gzip && !repeated ? gzipSync(body) : Buffer.from(body)));
  const next = (index: number) => {
    if (!repeated) return ready[index];
    const body = numbered(bodies[index % bodies.length], index);
    return carried(order.gzip ? gzipSync(body, { level: 1 }) : body);
  };
  process.send!({ ready: true });
  process.on('message', async (second: unknown) => {
    if (second !== 'go') return;
    const report = await new Load(order).run(repeated ? Number.MAX_SAFE_INTEGER : bodies.length, next);
    process.send!({ report }, () => process.exit(0));
  });
});
