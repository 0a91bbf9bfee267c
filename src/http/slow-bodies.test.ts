import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { beforeEach, describe, it } from 'node:test';
import { SlowBodies } from './slow-bodies.js';

const response = {} as ServerResponse;

describe('A body on its way', () => {
  let slowBodies: SlowBodies;
  let socket: EventEmitter & { bytesRead: number };
  let request: { socket: unknown; complete: boolean; readableFlowing: boolean | null };

  beforeEach(() => {
    slowBodies = new SlowBodies();
    socket = Object.assign(new EventEmitter(), { bytesRead: 5000 });
    request = { socket, complete: false, readableFlowing: true };
    slowBodies.connected(socket as unknown as Socket);
    slowBodies.begins(request as unknown as IncomingMessage, response, 1000);
  });
  const taken = (nowMs: number) => slowBodies.take(nowMs).length;

  it('has 10 s, then is slow below 1024 bytes a second, and is given once', () => {
    assert.equal(taken(10_999), 0);
    assert.equal(taken(11_000), 1);
    assert.equal(taken(12_000), 0);
  });

  it('is not slow at that rate, until it falls below it', () => {
    socket.bytesRead += 20 * 1024;
    assert.equal(taken(11_000), 0);
    assert.equal(taken(21_000), 0);
    assert.equal(taken(21_001), 1);
  });

  it('is not slow when it waits for us', () => {
    for (const flowing of [false, null]) {
      request.readableFlowing = flowing;
      assert.equal(taken(20_000), 0);
    }
    request.readableFlowing = true;
    assert.equal(taken(20_000), 1);
  });

  it('is not slow when it is there, however long the answer takes', () => {
    request.complete = true;
    assert.equal(taken(60_000), 0);
  });

  it('begins anew with every request of a connection, and ends with the connection', () => {
    slowBodies.begins(request as unknown as IncomingMessage, response, 9000);
    assert.equal(taken(18_000), 0);
    socket.emit('close');
    assert.equal(taken(60_000), 0);
  });
});
