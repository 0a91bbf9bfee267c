import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { type Answer, call } from './support/http.js';
import { logRecord, requestOf } from './support/items.js';
import { encode, portsOf, readRefusal, readSuccess, sendOtlp } from './support/otlp-client.js';
import { makeDataDir, Server } from './support/server.js';

const ORIGIN = 'https://app.example.com';
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** What comes back for bytes that may be no HTTP at all. */
function exchange(url: string, bytes: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    let received = '';
    socket.on('data', (chunk) => (received += chunk.toString('latin1')));
    socket.on('error', reject);
    socket.on('close', () => resolve(received));
    socket.write(bytes, 'latin1');
  });
}

function assertGuarded(headers: Answer['headers'], where: string): void {
  const expected = {
    'x-content-type-options': 'nosniff',
    'cache-control': 'no-store',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'referrer-policy': 'no-referrer',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'x-frame-options': 'DENY',
    'strict-transport-security': undefined,
    'access-control-allow-origin': undefined,
    'x-powered-by': undefined,
    server: undefined,
  };
  for (const [name, value] of Object.entries(expected))
    assert.equal(headers[name], value, `${where}: ${name}`);
}

describe('What every answer has', { concurrency: false }, () => {
  let server: Server;
  const body = encode('logs', 'protobuf', requestOf('logs', [logRecord('edge')]));
  before(async () => {
    server = await Server.start(makeDataDir());
  });
  after(() => server.stop());

  /** One of each kind of answer: good ones and refusals, of the API and of OTLP, on both ports. */
  const everyKind = (headers: Record<string, string> = {}): Promise<[string, Answer]>[] => {
    const get = async (path: string): Promise<[string, Answer]> => [
      path,
      await call(server.api + path, { method: 'GET', headers }),
    ];
    const otlp = async (
      name: string,
      url: string,
      more: Record<string, string>,
    ): Promise<[string, Answer]> => [
      `${name} ${JSON.stringify(more)}`,
      await sendOtlp(url, 'logs', 'protobuf', body, { headers: { ...headers, ...more } }),
    ];
    return [
      ...['/health/live', '/metrics', '/api/v1/services', '/api/v1/logs?x=1', '/nothing', '/docs-json'].map(
        get,
      ),
      ...portsOf(server).flatMap(({ name, url }) => [
        otlp(name, url, {}),
        otlp(name, url, { 'x-api-key': 'unknown' }),
        otlp(name, url, { 'content-type': 'text/plain' }),
      ]),
    ];
  };

  it('the correlation id that the client gave, on both ports, in the body of an error too', async () => {
    for (const [where, { headers, body }] of await Promise.all(
      everyKind({ 'x-correlation-id': 'my-id.7' }),
    )) {
      assert.equal(headers['x-correlation-id'], 'my-id.7', where);
      if (where.startsWith('/nothing')) assert.equal(JSON.parse(body.toString()).correlation_id, 'my-id.7');
    }
  });

  it('a new one where the client gave none, or one that could be written into headers or log lines', async () => {
    for (const headers of [
      {},
      { 'x-correlation-id': 'x"} {"level":60' },
      { 'x-correlation-id': 'x'.repeat(129) },
    ]) {
      const answers = await Promise.all(everyKind(headers as Record<string, string>));
      const ids = answers.map(([, { headers: got }]) => String(got['x-correlation-id']));
      for (const id of ids) assert.match(id, UUID);
      assert.equal(new Set(ids).size, ids.length);
    }
    assert.doesNotMatch(server.program.stderr, /"level":60/);
  });

  it('headers that let a browser do nothing with it, and none that tell what runs here', async () => {
    for (const [where, { headers }] of await Promise.all(everyKind())) assertGuarded(headers, where);
  });

  it('the exact content type where OTLP wants one', async () => {
    for (const { url, success } of portsOf(server))
      readSuccess(await sendOtlp(url, 'logs', 'protobuf', body), 'logs', 'protobuf', success);
  });

  it('401 with the scheme to authenticate by', async () => {
    for (const [where, { status, headers }] of await Promise.all(everyKind({ 'x-api-key': 'unknown' })))
      assert.equal(headers['www-authenticate'], status === 401 ? 'Bearer' : undefined, where);
  });

  it('even when it was no request that could be read, and the connection is closed then', async () => {
    const cases: [string, string][] = [
      ['nonsense\r\n\r\n', '400'],
      [`GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`, '431'],
      ['GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n', '400'],
      ['GET / HTTP/1.1\r\n\r\n', '400'],
    ];
    for (const { url } of portsOf(server)) {
      for (const [bytes, status] of cases) {
        const answer = await exchange(url, bytes);
        assert.match(answer, new RegExp(`^HTTP/1.1 ${status} `), bytes.slice(0, 40));
      }
      assert.match(
        await exchange(url, cases[0][0]),
        /x-correlation-id: [0-9a-f-]{36}\r\n[\s\S]*nosniff|nosniff[\s\S]*x-correlation-id/,
      );
    }
  });

  it('without CORS_ORIGINS no word of CORS, whatever a browser asks', async () => {
    const asks = { origin: ORIGIN, 'access-control-request-method': 'POST' };
    for (const { url } of portsOf(server)) {
      const { status, headers } = await call(`${url}/v1/logs`, { method: 'OPTIONS', headers: asks });
      assert.equal(status, 405);
      assert.deepEqual(
        Object.keys(headers).filter((name) => /^access-control|^vary/.test(name)),
        [],
      );
    }
  });
});

describe('Behind a trusted proxy, with web origins allowed', { concurrency: false }, () => {
  let server: Server;
  before(async () => {
    server = await Server.start(makeDataDir(), {
      CORS_ORIGINS: `${ORIGIN},http://localhost:5173`,
      TRUST_PROXY: '127.0.0.0/8',
    });
  });
  after(() => server.stop());

  it('says that TLS is to be used when the proxy says that it was', async () => {
    const hsts = async (proto: Record<string, string>) =>
      (await call(`${server.api}/health/live`, { method: 'GET', headers: proto })).headers[
        'strict-transport-security'
      ];
    assert.match((await hsts({ 'x-forwarded-proto': 'https' }))!, /^max-age=\d{8}/);
    assert.match((await hsts({ 'x-forwarded-proto': 'http, HTTPS' }))!, /^max-age/);
    assert.equal(await hsts({ 'x-forwarded-proto': 'http' }), undefined);
    assert.equal(await hsts({}), undefined);
  });

  it('answers preflights of exactly these origins with 204, on every path of both ports', async () => {
    const addresses = [`${server.api}/api/v1/logs`, ...portsOf(server).map(({ url }) => `${url}/v1/traces`)];
    for (const address of addresses) {
      const preflight = (origin: string) =>
        call(address, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'POST' } });
      for (const origin of [ORIGIN, 'http://localhost:5173']) {
        const { status, headers, body } = await preflight(origin);
        assert.deepEqual([status, body.length], [204, 0]);
        assert.equal(headers['access-control-allow-origin'], origin);
        assert.match(headers['access-control-allow-methods']!, /\bPOST\b/);
        for (const name of ['content-type', 'authorization', 'x-api-key', 'x-tenant-id', 'x-correlation-id'])
          assert.ok(headers['access-control-allow-headers']!.split(', ').includes(name), name);
        assert.equal(headers.vary, 'Origin');
      }
      for (const origin of ['https://app.example.com.evil.example', 'http://app.example.com', 'null', '*']) {
        const { status, headers } = await preflight(origin);
        assert.equal(status, 405, origin);
        assert.equal(headers['access-control-allow-origin'], undefined, origin);
        assert.equal(headers.vary, 'Origin');
      }
    }
  });

  it('lets them read answers, refusals too, and the headers that clients act on', async () => {
    const body = encode('logs', 'json', requestOf('logs', [logRecord('cors')]));
    for (const { url } of portsOf(server)) {
      for (const more of [{}, { 'x-api-key': 'unknown' }] as Record<string, string>[]) {
        const answer = await sendOtlp(url, 'logs', 'json', body, { headers: { origin: ORIGIN, ...more } });
        assert.equal(answer.headers['access-control-allow-origin'], ORIGIN);
        assert.match(answer.headers['access-control-expose-headers']!, /Retry-After.*X-Correlation-Id/);
        assert.equal(answer.headers['access-control-allow-credentials'], undefined);
        if (answer.status === 401) assert.equal(readRefusal(answer, 'json').code, 16);
      }
    }
    const { headers } = await call(`${server.api}/api/v1/services`, { method: 'GET' });
    assert.deepEqual([headers.vary, headers['access-control-allow-origin']], ['Origin', undefined]);
  });
});
