import 'reflect-metadata';
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Body, Controller, Delete, Get, Module, Post, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Validator } from '@seriousme/openapi-schema-validator';
import { z } from 'zod';
import { Public, Requires } from '../edge/scope.guard.js';
import { ApiRoute } from '../http/api-route.js';
import { openApiDocument } from './document.js';
import { OpenApiModule } from './openapi.module.js';

/** The document of a program that has these controllers. */
// biome-ignore lint/suspicious/noExplicitAny: a JSON document
async function documentOf(...controllers: Type[]): Promise<any> {
  @Module({ imports: [OpenApiModule], controllers })
  class Program {}
  const adapter = new FastifyAdapter();
  const app = await NestFactory.create(Program, adapter, { logger: false, abortOnError: false });
  try {
    await app.init();
    const answer = await adapter.getInstance().inject({ method: 'GET', url: '/docs-json' });
    return answer.json();
  } finally {
    await app.close();
  }
}

const thing = z.object({ name: z.string().min(1).max(100), size: z.int().optional() });

@Requires('write')
@Controller('api/v1/things')
class ThingsController {
  @ApiRoute({
    summary: 'Make a thing',
    body: thing,
    response: thing.extend({ id: z.uuid() }),
    errors: ['CONFLICT'],
  })
  @Post()
  create(@Body() body: unknown) {
    return body;
  }

  @ApiRoute({ summary: 'List things', list: thing, query: z.object({ page: z.string().default('1') }) })
  @Requires('read')
  @Get()
  list() {
    return [];
  }

  @ApiRoute({ summary: 'Remove a thing', params: z.object({ id: z.uuid() }), status: 204 })
  @Requires('admin')
  @Delete(':id')
  remove() {}

  notARoute() {}
}

@Public()
@Controller('auth')
class LoginController {
  @ApiRoute({ summary: 'Log in', body: thing, status: 200, errors: ['UNAUTHENTICATED', 'RATE_LIMITED'] })
  @Post('login')
  login() {}
}

@Controller('forgotten')
class ForgottenController {
  @Get('route')
  route() {}
}

describe('The OpenAPI document', () => {
  it('a route that does not describe itself stops the start, with its name', async () => {
    await assert.rejects(
      () => documentOf(ThingsController, ForgottenController),
      /Routes without @ApiRoute: ForgottenController\.route \(\/forgotten\/route\)/,
    );
  });

  it('is valid OpenAPI 3.1', async () => {
    const document = await documentOf(ThingsController, LoginController);
    assert.deepEqual(await new Validator().validate(document), { valid: true });
    assert.equal(document.openapi, '3.1.0');
  });

  it('tells of every route the permission, the parameters, the body, and the answers', async () => {
    const { paths } = await documentOf(ThingsController, LoginController);
    const { get, post } = paths['/api/v1/things'];
    assert.deepEqual([get['x-permission'], post['x-permission']], ['read', 'write']);
    assert.deepEqual(Object.keys(post.responses), [
      '201',
      '400',
      '401',
      '403',
      '409',
      '413',
      '415',
      '429',
      '503',
    ]);
    const { schema } = post.requestBody.content['application/json'];
    assert.deepEqual([schema.required, schema.properties.name.maxLength], [['name'], 100]);
    const page = get.responses[200].content['application/json'].schema;
    assert.deepEqual(page.properties.data.items.required, ['name']);
    assert.ok(get.responses[200].headers['X-RateLimit-Remaining']);
    assert.ok(get.responses[429].headers['Retry-After']);
    assert.ok(get.responses[401].headers['WWW-Authenticate']);
    const remove = paths['/api/v1/things/{id}'].delete;
    assert.deepEqual([remove['x-permission'], remove.responses[204].content], ['admin', undefined]);
    const [id] = remove.parameters;
    assert.deepEqual([id.name, id.in, id.required, id.schema.format], ['id', 'path', true, 'uuid']);
    assert.ok(remove.responses[404]);
  });

  it('public routes take no credential, and only what they say can be refused', async () => {
    const { post } = (await documentOf(LoginController)).paths['/auth/login'];
    assert.deepEqual([post.security, post['x-permission']], [[], undefined]);
    assert.deepEqual(Object.keys(post.responses), ['200', '400', '401', '413', '415', '429']);
  });

  it('refuses schemas that it could only write by reference', async () => {
    const looping: z.ZodType = z.lazy(() => z.object({ next: looping.optional() }));
    const description = { summary: 'Loop', response: looping };
    const route = { method: 'get', path: '/loop', isPublic: true, permission: undefined, description };
    assert.throws(() => openApiDocument([route]), /refers to itself/);
  });
});
