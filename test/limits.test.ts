import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Answer, call } from './support/http.js';
import { logRecord, requestOf } from './support/items.js';
import { ENCODINGS, type Encoding, encode, portsOf, readRefusal, sendOtlp } from './support/otlp-client.js';
import { makeDataDir, Server } from './support/server.js';

/** Nothing comes back while a test runs. */
const STILL = { THROTTLE_TTL: '86400000', THROTTLE_INGESTION_TTL: '86400000' };

/** A request that a proxy on this machine sends on: an address of its own for each test. */
let clients = 0;
const newClient = () => ({ 'x-forwarded-for': `203.0.113.${++clients}` });

function limitsOf({ headers }: Answer) {
  const [limit, remaining, reset] = ['limit', 'remaining', 'reset'].map((name) =>
    Number(headers[`x-ratelimit-${name}`]),
  );
  return { limit, remaining, reset };
}

function hasNoLimits({ headers }: Answer): boolean {
  return !Object.keys(headers).some((name) => name.startsWith('x-ratelimit'));
}

const sendLog = (url: string, encoding: Encoding = 'json', headers = {}) =>
  sendOtlp(url, 'logs', encoding, encode('logs', encoding, requestOf('logs', [logRecord('limits')])), {
    headers,
  });

describe('The limits of the API', () => {
  let server: Server;
  const get = (path: string, headers: Record<string, string> = {}) =>
    call(`${server.api}${path}`, { method: 'GET', headers });
  before(async () => {
    const env = { ...STILL, THROTTLE_LIMIT: '5', THROTTLE_INGESTION_LIMIT: '0', TRUST_PROXY: '127.0.0.1' };
    server = await Server.start(makeDataDir(), env);
  });
  after(() => server.stop());

  it('are told in the headers of every answer, errors included, and end in a 429 that says when to come back', async () => {
    const paths = [
      '/api/v1/services',
      '/api/v1/traces?nonsense=1',
      '/api/v1/logs',
      '/api/v1/traces/00',
      '/api/v1/metrics',
    ];
    for (const [index, path] of paths.entries()) {
      const { limit, remaining, reset } = limitsOf(await get(path));
      assert.deepEqual([limit, remaining], [5, 4 - index], path);
      const expected = Date.now() / 1000 + (86_400 * (index + 1)) / 5;
      assert.ok(Number.isInteger(reset) && Math.abs(reset - expected) < 10, `${reset} for ${expected}`);
    }
    const refused = await get('/api/v1/services', { 'x-correlation-id': 'abc' });
    assert.equal(refused.status, 429);
    assert.deepEqual([limitsOf(refused).limit, limitsOf(refused).remaining], [5, 0]);
    const { message, timestamp, ...body } = JSON.parse(refused.body.toString());
    assert.deepEqual(body, {
      status: 429,
      error: 'Too Many Requests',
      code: 'RATE_LIMITED',
      path: '/api/v1/services',
      correlation_id: 'abc',
    });
    const retryAfter = Number(refused.headers['retry-after']);
    assert.ok(retryAfter > 17_000 && retryAfter <= 17_280, `${retryAfter}`);
    assert.equal(message, `More than 5 requests per 86400 s; try again in ${retryAfter} s.`);
    assert.ok(Date.parse(timestamp) > 0);
  });

  it('do not hold for health and metrics', async () => {
    for (let n = 0; n < 10; n++)
      for (const path of ['/health/live', '/health/ready', '/metrics']) {
        const answer = await get(path);
        assert.equal(answer.status, 200);
        assert.ok(hasNoLimits(answer), path);
      }
  });

  it('count credentials that are not known with the address they come from', async () => {
    const client = newClient();
    const guess = (n: number) => get('/api/v1/services', { ...client, authorization: `Bearer guess-${n}` });
    for (let n = 0; n < 5; n++) {
      const answer = await guess(n);
      assert.equal(answer.status, 401);
      assert.equal(limitsOf(answer).remaining, 4 - n);
    }
    assert.equal((await guess(5)).status, 429);
    assert.equal((await get('/api/v1/services', newClient())).status, 401, 'another address has its own');
  });

  it('take no address from a header that no trusted proxy wrote', async () => {
    const client = newClient();
    for (let n = 0; n < 6; n++) {
      const forged = { 'x-forwarded-for': `198.51.100.${n}, ${client['x-forwarded-for']}` };
      assert.equal((await get('/api/v1/services', forged)).status, n < 5 ? 401 : 429);
    }
  });
});

describe('The limits of OTLP over HTTP', () => {
  let server: Server;
  before(async () => {
    const env = { THROTTLE_INGESTION_TTL: '2000', THROTTLE_INGESTION_LIMIT: '2', TRUST_PROXY: '127.0.0.1' };
    server = await Server.start(makeDataDir(), env);
    // The first request starts a thread, which takes longer than a token.
    await sendLog(server.otlp);
  });
  after(() => server.stop());

  it('are told on both ports and in both encodings; a refused request comes through when it waits as told', async () => {
    for (const { name, url, success } of portsOf(server)) {
      for (const encoding of ENCODINGS) {
        await sleep(2000);
        const [first, second, third] = await Promise.all([1, 2, 3].map(() => sendLog(url, encoding)));
        const answers = [first, second, third].sort((a, b) => a.status - b.status);
        assert.deepEqual(
          answers.map(({ status }) => status),
          [success, success, 429],
          `${name} ${encoding}`,
        );
        for (const answer of answers) {
          assert.equal(limitsOf(answer).limit, 2);
          assert.ok(Math.abs(limitsOf(answer).reset - Date.now() / 1000) <= 3);
        }
        const refusal = readRefusal(answers[2], encoding);
        assert.deepEqual(refusal, { code: 8, message: 'More than 2 requests per 2 s; try again in 1 s.' });
        assert.equal(answers[2].headers['retry-after'], '1');
        assert.equal(limitsOf(answers[2]).remaining, 0);
        await sleep(1000);
        assert.equal((await sendLog(url, encoding)).status, success);
      }
    }
  });

  it('count credentials that are not known with the address they come from', async () => {
    const client = newClient();
    const answers = await Promise.all([1, 2, 3].map(() => sendLog(server.otlp, 'protobuf', client)));
    assert.deepEqual(answers.map(({ status }) => status).sort(), [401, 401, 429]);
    for (const answer of answers) assert.equal(limitsOf(answer).limit, 2);
  });

  it('are not there where the setting is 0', async () => {
    const headers = { authorization: `Bearer ${server.key}` };
    const answer = await call(`${server.api}/api/v1/services`, { method: 'GET', headers });
    assert.equal(answer.status, 200);
    assert.ok(hasNoLimits(answer));
  });
});
