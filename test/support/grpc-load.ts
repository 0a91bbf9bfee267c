import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { EXPORT_PATHS, framed, GrpcConnection, readGrpcError } from './grpc-client.js';
import { makeBody, type SentBody } from './load.js';
import type { Random } from './seed.js';

/** Clients that call Export one time after the other, several on each connection, until the server is gone. */
export class GrpcLoad {
  readonly bodies: SentBody[] = [];
  private readonly connections: GrpcConnection[] = [];
  private readonly clients: Promise<void>[] = [];

  /** @param name makes the ids unique; letters and digits only */
  constructor(
    address: string,
    private readonly random: Random,
    name: string,
    connections = 2,
    clientsEach = 4,
  ) {
    for (let i = 0; i < connections; i++) {
      const connection = new GrpcConnection(address);
      this.connections.push(connection);
      for (let j = 0; j < clientsEach; j++) this.clients.push(this.client(connection, `${name}g${i}c${j}`));
    }
  }

  /** Resolves when the server is gone. */
  async ended(): Promise<void> {
    await Promise.all(this.clients);
    for (const connection of this.connections) connection.close();
  }

  get acknowledged(): number {
    return this.bodies.filter((body) => body.isAcknowledged).length;
  }

  private async client(connection: GrpcConnection, name: string): Promise<void> {
    for (let count = 0; !connection.session.closed && !connection.session.destroyed; count++) {
      let body = makeBody(this.random, `${name}n${count}`);
      while (body.encoding === 'json') body = makeBody(this.random, body.id);
      this.bodies.push(body);
      const bytes = framed(body.isGzip ? gzipSync(body.bytes, { level: 1 }) : body.bytes, body.isGzip);
      const encoding = body.isGzip ? { 'grpc-encoding': 'gzip' } : {};
      const answer = await connection.call(EXPORT_PATHS[body.signal], bytes, encoding);
      body.bytes = Buffer.alloc(0);
      if (answer.status === undefined) return;
      body.isAcknowledged = answer.status === 0;
      if (body.isAcknowledged) continue;
      const { code, retrySeconds, message } = readGrpcError(answer);
      assert.deepEqual([code, retrySeconds], [14, 1], message);
      await sleep(20);
    }
  }
}
