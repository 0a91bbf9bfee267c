import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** A body may take its time in the beginning; after that it comes at this rate, on average, or is cut. */
const GRACE_MS = 10_000;
const MIN_BYTES_PER_SECOND = 1024;

interface Receiving {
  request?: IncomingMessage;
  response?: ServerResponse;
  sinceMs: number;
  /** What the connection had received when the request began. */
  bytesBefore: number;
}

/**
 * Finds requests whose body trickles in. It looks at connections and not at requests, so that a request costs it nothing
 * but three assignments.
 */
export class SlowBodies {
  private readonly connections = new Map<Socket, Receiving>();

  connected(socket: Socket): void {
    this.connections.set(socket, { sinceMs: 0, bytesBefore: 0 });
    socket.once('close', () => this.connections.delete(socket));
  }

  /** A request's headers are read; its body may still be on the way. */
  begins(request: IncomingMessage, response: ServerResponse, nowMs: number): void {
    const receiving = this.connections.get(request.socket);
    if (!receiving) return;
    receiving.request = request;
    receiving.response = response;
    receiving.sinceMs = nowMs;
    receiving.bytesBefore = request.socket.bytesRead;
  }

  /** The connections whose client is too slow now, each given once. A body that waits for us is not slow. */
  take(nowMs: number): { socket: Socket; response: ServerResponse }[] {
    const slow: { socket: Socket; response: ServerResponse }[] = [];
    for (const [socket, receiving] of this.connections) {
      const { request, response } = receiving;
      if (!request || !response) continue;
      if (!request.complete) {
        if (request.readableFlowing !== true || !isTooSlow(socket.bytesRead, receiving, nowMs)) continue;
        slow.push({ socket, response });
      }
      // A connection that idles holds nothing of the request it last had.
      receiving.request = undefined;
      receiving.response = undefined;
    }
    return slow;
  }
}

function isTooSlow(bytesRead: number, { sinceMs, bytesBefore }: Receiving, nowMs: number): boolean {
  const tookMs = nowMs - sinceMs;
  return tookMs >= GRACE_MS && bytesRead - bytesBefore < (tookMs / 1000) * MIN_BYTES_PER_SECOND;
}
