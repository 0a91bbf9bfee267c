import assert from 'node:assert/strict';
import { type ClientRequest, request } from 'node:http';
import { after, afterEach, before, describe, it } from 'node:test';
import { ITEMS, requestOf } from './support/items.js';
import { bearer, succeed } from './support/neighbours.js';
import { encode, sendOtlp } from './support/otlp-client.js';
import { makeDataDir, Server } from './support/server.js';
import { makeTenant, type TestTenant } from './support/tenant.js';
import { until } from './support/until.js';

interface Event {
  id?: string;
  event?: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever JSON the event carries
  data: any;
}

/** What a browser's EventSource does, less coming back by itself. */
class Tail {
  status = 0;
  headers: Record<string, unknown> = {};
  readonly events: Event[] = [];
  text = '';
  isOver = false;
  private static readonly open = new Set<Tail>();
  private readonly outgoing: ClientRequest;

  /** Also those of a test that failed. */
  static hangUpAll(): void {
    for (const tail of Tail.open) tail.hangUp();
    Tail.open.clear();
  }

  constructor(server: Server, key: string, query = '', lastEventId?: string) {
    const headers = { ...bearer(key), ...(lastEventId ? { 'last-event-id': lastEventId } : {}) };
    this.outgoing = request(
      `${server.api}/api/v1/logs/tail${query}`,
      { agent: false, headers },
      (incoming) => {
        this.status = incoming.statusCode!;
        this.headers = incoming.headers;
        incoming.setEncoding('utf8').on('data', (chunk) => this.take(chunk));
        incoming
          .on('error', () => undefined)
          .on('close', () => {
            this.isOver = true;
          });
      },
    );
    Tail.open.add(this);
    this.outgoing.on('error', () => undefined);
    this.outgoing.end();
  }

  get bodies(): string[] {
    return this.events.filter(({ event }) => event === undefined).map(({ data }) => data.body);
  }

  hangUp(): void {
    this.outgoing.destroy();
  }

  private take(chunk: string): void {
    this.text += chunk;
    const parts = this.text.split('\n\n');
    this.text = parts.pop()!;
    for (const part of parts) {
      const fields = new Map(
        part.split('\n').map((line) => [line.split(': ')[0], line.slice(line.indexOf(': ') + 2)]),
      );
      const data = fields.get('data');
      if (data)
        this.events.push({ id: fields.get('id'), event: fields.get('event'), data: JSON.parse(data) });
    }
  }
}

describe('Following the log', { concurrency: false }, () => {
  let server: Server;
  let tenant: TestTenant;
  let other: TestTenant;
  before(async () => {
    server = await Server.start(makeDataDir());
    tenant = await makeTenant(server, 'tail');
    other = await makeTenant(server, 'other');
  });
  after(() => server?.stop());
  afterEach(() => Tail.hangUpAll());

  async function send(texts: string[], { ingestKey } = tenant): Promise<void> {
    const items = texts.map((text) => ITEMS.logs(text, { body: { stringValue: text } }));
    const { status, body } = await sendOtlp(
      server.otlp,
      'logs',
      'json',
      encode('logs', 'json', requestOf('logs', items)),
      {
        headers: bearer(ingestKey),
      },
    );
    assert.equal(status, 200, String(body));
  }

  it('gives records as they come, of this tenant, that match', async () => {
    const [all, some, others] = ['', '?q=pear', ''].map(
      (query, n) => new Tail(server, n === 2 ? other.readKey : tenant.readKey, query),
    );
    await until('they are open', () => [all, some, others].every(({ status }) => status === 200));
    assert.equal(all.headers['content-type'], 'text/event-stream');
    assert.equal(all.headers['x-accel-buffering'], 'no');
    await send(['apple', 'pear']);
    await send(['theirs'], other);
    await send(['plum']);
    await until(
      'all have come',
      () => all.bodies.length >= 3 && others.bodies.length > 0 && some.bodies.length > 0,
    );
    assert.deepEqual(all.bodies.sort(), ['apple', 'pear', 'plum']);
    assert.deepEqual([some.bodies, others.bodies], [['pear'], ['theirs']]);
    for (const tail of [all, some, others]) tail.hangUp();
  });

  it('goes on after the last record that its caller got', async () => {
    await send(['one', 'two', 'three']);
    const first = new Tail(server, tenant.readKey);
    await until('three have come', () => first.bodies.includes('three') && first.bodies.includes('one'));
    const { id } = first.events.find(({ data }) => data.body === first.bodies[0])!;
    const unseen = first.bodies.slice(1);
    first.hangUp();
    await send(['four']);
    const second = new Tail(server, tenant.readKey, '', id);
    await until('the rest has come', () => second.bodies.length >= unseen.length + 1);
    assert.deepEqual(second.bodies.sort(), [...unseen, 'four'].sort());
    assert.deepEqual(
      second.events.filter(({ event }) => event),
      [],
      'nothing was left out',
    );
    second.hangUp();
    const elsewhere = new Tail(server, tenant.readKey, '', id!.replace(/^[^.]+/, 'AAAAAAAAAAAA'));
    await until('it says that it does not know', () => elsewhere.events.some(({ event }) => event === 'gap'));
    elsewhere.hangUp();
  });

  it('ends when its key is revoked', async () => {
    const owner = bearer(server.key);
    const made = { name: 'to be revoked', permissions: ['read'] };
    const { id, key } = await succeed<{ id: string; key: string }>(server, 'POST', 'api-keys', owner, made);
    const tail = new Tail(server, key);
    await until('it is open', () => tail.status === 200);
    await succeed(server, 'DELETE', `api-keys/${id}`, owner);
    await until('it ends', () => tail.isOver);
    const last = tail.events.at(-1)!;
    assert.deepEqual([last.event, last.data.code], ['end', 'UNAUTHENTICATED']);
  });

  it('of one tenant there are ten at most, and those that are over do not count', async () => {
    const open = () => new Tail(server, tenant.readKey);
    const ten = Array.from({ length: 10 }, open);
    await until('ten are open', () => ten.every(({ status }) => status === 200));
    const eleventh = open();
    const others = new Tail(server, other.readKey);
    await until('the eleventh is refused', () => eleventh.status === 429 && others.status === 200);
    ten[0].hangUp();
    const again: Tail[] = [];
    await until('one more is let in', async () => {
      const last = again.at(-1);
      if (!last || last.status === 429) again.push(open());
      return last?.status === 200;
    });
    for (const tail of [...ten, ...again, others]) tail.hangUp();
  });

  it('refuses what it cannot do', async () => {
    for (const query of ['?from=now-2h', '?to=now', '?min_severity=loud', '?limit=1']) {
      const tail = new Tail(server, tenant.readKey, query);
      await until('it is answered', () => tail.status !== 0);
      assert.equal(tail.status, 400, query);
    }
  });

  it('ends at once when the server stops', async () => {
    const tail = new Tail(server, tenant.readKey);
    await until('it is open', () => tail.status === 200);
    const startedAt = performance.now();
    await server.stop();
    // Answers under way are waited for ten seconds; this one is not waited for.
    assert.ok(performance.now() - startedAt < 9000, 'the tail held up the stop');
    const last = tail.events.at(-1)!;
    assert.deepEqual([last.event, last.data.code], ['end', 'SHUTTING_DOWN']);
    server = undefined as unknown as Server;
  });
});
