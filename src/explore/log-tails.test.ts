import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ClientRequest, get, type IncomingMessage, request } from 'node:http';
import { after, before, describe, it } from 'node:test';
import { ExploreApp } from '../../test/support/explore-app.js';
import { TelemetryStore } from '../../test/support/telemetry-store.js';
import { until } from '../../test/support/until.js';
import { AppError } from '../errors.js';
import type { LogTail } from '../store/log-tail.js';
import { LogTails } from './log-tails.js';

const coded = (code: string) => (error: unknown) => error instanceof AppError && error.code === code;
const tail = {} as LogTail;

async function answerOf(outgoing: ClientRequest): Promise<IncomingMessage> {
  outgoing.on('error', () => undefined);
  const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
  incoming.on('error', () => undefined).resume();
  return incoming;
}

describe('The tails of a process', () => {
  it('are so many of a tenant and in all, and a place is free again when one is left', () => {
    const tails = new LogTails();
    const ofA = Array.from({ length: 10 }, () => tails.enter('a').id);
    assert.throws(() => tails.enter('a'), coded('RATE_LIMITED'));
    tails.leave(ofA[0], undefined);
    tails.enter('a');
    for (let n = 0; n < 40; n++) tails.enter(`tenant ${n}`);
    assert.throws(() => tails.enter('b'), coded('RATE_LIMITED'));
    assert.equal(tails.size, 50);
  });

  it('are given back once, to the tenant and the question they were for', () => {
    const tails = new LogTails();
    const { id } = tails.enter('a');
    tails.leave(id, { id, tail, tenantId: 'a', question: 'q' });
    assert.equal(tails.takeBack(id, 'b', 'q'), undefined);
    assert.equal(tails.takeBack(id, 'a', 'other'), undefined);
    assert.equal(tails.takeBack(id, 'a', 'q'), tail);
    assert.equal(tails.takeBack(id, 'a', 'q'), undefined);
  });

  it('all end when it stops, and none is opened after', () => {
    const tails = new LogTails();
    const { id, signal } = tails.enter('a');
    tails.stop();
    assert.ok(coded('SHUTTING_DOWN')(signal.reason));
    assert.throws(() => tails.enter('a'), coded('SHUTTING_DOWN'));
    tails.leave(id, { id, tail, tenantId: 'a', question: 'q' });
    assert.equal(tails.takeBack(id, 'a', 'q'), undefined);
  });
});

describe('A tail that is left', () => {
  let store: TelemetryStore;
  let explore: ExploreApp;
  before(async () => {
    store = await TelemetryStore.open();
    explore = await ExploreApp.start(store.clickhouse);
  });
  after(async () => {
    await explore.close();
    await store.close();
  });

  it('holds neither its place nor a session of the store', async () => {
    const base = await explore.listen();
    const tails = explore.app.get(LogTails);
    for (let round = 0; round < 3; round++) {
      const open = Array.from({ length: 8 }, () => get(`${base}/logs/tail`, { agent: false }));
      for (const outgoing of open) assert.equal((await answerOf(outgoing)).statusCode, 200);
      assert.equal(tails.size, 8);
      for (const outgoing of open) outgoing.destroy();
      await until('all are left', () => tails.size === 0);
    }
    await until('no session is in use', () => {
      const { busy, waiting } = store.clickhouse.stats().reads!;
      return busy === 0 && waiting === 0;
    });
    const head = request(`${base}/logs/tail`, { method: 'HEAD', agent: false }).end();
    assert.equal((await answerOf(head)).statusCode, 200);
    await until('HEAD is over at once', () => tails.size === 0);
  });
});
