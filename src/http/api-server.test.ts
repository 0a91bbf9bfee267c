import 'reflect-metadata';
import assert from 'node:assert/strict';
import type { Server } from 'node:http';
import { after, before, describe, it } from 'node:test';
import { Body, Controller, Get, Module, Param, Post, Put } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import pino from 'pino';
import { type Answer, call } from '../../test/support/http.js';
import { AUDIT, type AuditTrail } from '../edge/audit.js';
import { ErrorFilter } from '../edge/error.filter.js';
import { LOGGER } from '../log.js';
import { createApi } from './api-server.js';
import { ConnectionLimit } from './connection-limit.js';
import { Entry } from './entry.js';
import { closeHttpServer, createHttpServer, listen } from './server.js';

@Controller('things')
class ThingsController {
  @Post()
  create(@Body() body: unknown) {
    return { got: body ?? null };
  }

  @Get('own')
  own() {
    return 'own';
  }

  @Put(':id')
  replace(@Param('id') id: string, @Body() body: unknown) {
    return { id, got: body ?? null };
  }

  @Get(':id')
  read(@Param('id') id: string) {
    if (id === 'broken') throw new Error('secret of the inside');
    return { id };
  }
}

@Module({
  controllers: [ThingsController],
  providers: [
    { provide: LOGGER, useValue: pino({ level: 'silent' }) },
    {
      provide: AUDIT,
      useValue: { record: async () => undefined, refuse: () => undefined } satisfies AuditTrail,
    },
    { provide: APP_FILTER, useClass: ErrorFilter },
  ],
})
class ThingsModule {}

const JSON_TYPE = { 'content-type': 'application/json' };

describe('The API over HTTP', () => {
  let app: NestFastifyApplication;
  let server: Server;
  let base: string;

  before(async () => {
    const entry = new Entry({ trustedProxies: [], corsOrigins: [] });
    const connections = new ConnectionLimit({ total: 100, perAddress: 100, trusted: [] });
    ({ app, server } = await createApi(ThingsModule, { trustedProxies: [] }, (handler) =>
      createHttpServer(entry, connections, handler),
    ));
    base = `http://127.0.0.1:${await listen(server, '127.0.0.1', 0, 'PORT')}`;
  });
  after(async () => {
    await closeHttpServer(server);
    await app.close();
  });

  async function refused(answer: Answer | Promise<Answer>, status: number, code: string): Promise<string> {
    const { body, headers, ...got } = await answer;
    const error = JSON.parse(body.toString());
    assert.deepEqual([got.status, error.status, error.code], [status, status, code], body.toString());
    assert.equal(headers['x-correlation-id'], error.correlation_id);
    assert.ok(!Number.isNaN(Date.parse(error.timestamp)));
    return error.message;
  }
  const post = (headers: Record<string, string>, body: string | Uint8Array, chunkBytes?: number) =>
    call(`${base}/things`, { headers, body, chunkBytes });

  it('takes JSON, with or without a charset', async () => {
    for (const type of ['application/json', 'application/json; charset=utf-8', 'Application/JSON']) {
      const { status, body } = await post({ 'content-type': type }, '{"a":[1]}');
      assert.deepEqual([status, JSON.parse(body.toString())], [201, { got: { a: [1] } }], type);
    }
    assert.equal((await call(`${base}/things`)).status, 201, 'a route that needs no body gets none');
  });

  it('says that malformed or empty JSON is that', async () => {
    for (const body of ['{"a":', 'nonsense', '{"a":1}}', Buffer.from([0xff, 0xfe])])
      assert.match(await refused(post(JSON_TYPE, body), 400, 'MALFORMED_BODY'), /not valid JSON/);
    assert.match(await refused(post(JSON_TYPE, ''), 400, 'MALFORMED_BODY'), /empty/);
  });

  it('does not let a body reach into prototypes', async () => {
    for (const body of ['{"__proto__":{"admin":true}}', '{"constructor":{"prototype":{"admin":true}}}'])
      await refused(post(JSON_TYPE, body), 400, 'MALFORMED_BODY');
  });

  it('refuses more than 1 MiB with 413, whether it is announced or not', async () => {
    const fits = JSON.stringify('x'.repeat(1024 * 1024 - 2));
    assert.equal((await post(JSON_TYPE, fits)).status, 201);
    for (const chunkBytes of [undefined, 64 * 1024])
      assert.match(await refused(post(JSON_TYPE, `${fits} `, chunkBytes), 413, 'BODY_TOO_LARGE'), /1 MiB/);
  });

  it('refuses other types of body with 415', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/xml', 'nonsense']) {
      const message = await refused(post({ 'content-type': type }, 'a=1'), 415, 'UNSUPPORTED_MEDIA_TYPE');
      assert.match(message, /application\/json/);
    }
    await refused(post({}, '{}'), 415, 'UNSUPPORTED_MEDIA_TYPE');
  });

  it('says 405 and what is allowed where the path has other methods, and 404 where there is none', async () => {
    const wrong: [string, string, string][] = [
      ['DELETE', '/things', 'POST'],
      ['OPTIONS', '/things', 'POST'],
      ['POST', '/things/7', 'PUT, GET, HEAD'],
      ['PUT', '/things/own', 'GET, HEAD'],
      ['PATCH', '/things/7/', 'PUT, GET, HEAD'],
    ];
    for (const [method, path, allow] of wrong) {
      const answer = await call(base + path, {
        method,
        headers: { 'content-type': 'text/plain' },
        body: 'x',
      });
      assert.match(await refused(answer, 405, 'METHOD_NOT_ALLOWED'), new RegExp(method));
      assert.equal(answer.headers.allow, allow);
    }
    for (const method of ['GET', 'POST', 'DELETE'])
      await refused(call(`${base}/thing`, { method }), 404, 'NOT_FOUND');
    assert.equal((await call(`${base}/things/own`, { method: 'HEAD' })).status, 200);
  });

  it('tells nothing of the inside', async () => {
    const message = await refused(call(`${base}/things/broken`, { method: 'GET' }), 500, 'INTERNAL');
    assert.doesNotMatch(message, /secret/);
  });

  it('answers 431 to too many headers, also within the size that is allowed', async () => {
    const headers = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`x-h${i}`, '1']));
    const many = await call(`${base}/things/1`, { method: 'GET', headers: headers(200) });
    assert.deepEqual([many.status, many.headers.connection], [431, 'close']);
    assert.equal((await call(`${base}/things/1`, { method: 'GET', headers: headers(90) })).status, 200);
  });
});
