import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { PACKAGE_ROOT } from '../src/version.js';
import { call, getJson } from './support/http.js';
import { makeDataDir, Server } from './support/server.js';

// biome-ignore lint/suspicious/noExplicitAny: a JSON document
type Json = any;

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];

/** Routes as the source has them: counted by their decorators, so that nothing of the generator is asked. */
function routesInSource(): number {
  const src = join(PACKAGE_ROOT, 'src');
  const controllers = readdirSync(src, { recursive: true })
    .map(String)
    .filter((name) => name.endsWith('.controller.ts'));
  const texts = controllers.map((name) => readFileSync(join(src, name), 'utf8'));
  return texts.reduce(
    (sum, text) => sum + [...text.matchAll(/^ {2}@(Get|Post|Put|Patch|Delete|Sse)\(/gm)].length,
    0,
  );
}

describe('The API describes itself', { concurrency: false }, () => {
  let server: Server;
  let document: Json;
  before(async () => {
    server = await Server.start(makeDataDir(), { INGEST_ANONYMOUS: 'off' });
    document = (await getJson(`${server.api}/docs-json`)).body;
  });
  after(() => server.stop());

  const operations = (): [string, string, Json][] =>
    Object.entries<Json>(document.paths).flatMap(([path, item]) =>
      METHODS.filter((method) => item[method]).map((method): [string, string, Json] => [
        method,
        path,
        item[method],
      ]),
    );

  it('is valid OpenAPI 3.1 by another program, and holds nothing by chance', async () => {
    assert.deepEqual(await new Validator().validate(document), { valid: true });
    for (const [method, path, operation] of operations()) {
      assert.ok(operation.summary, `${method} ${path}`);
      for (const parameter of operation.parameters.filter((one: Json) => one.in === 'query'))
        assert.ok(parameter.description?.length > 10, `${path} ${parameter.name} says what is allowed`);
    }
    const ids = operations().map(([, , { operationId }]) => operationId);
    assert.equal(new Set(ids).size, ids.length);
  });

  it('every route of the program is described', () => {
    const ownRoutes = operations().filter(([, path]) => !path.startsWith('/v1/'));
    assert.equal(ownRoutes.length, routesInSource());
    assert.equal(operations().length - ownRoutes.length, 3, 'and the three of OTLP');
  });

  it('what is described is there: guarded as it says, by the methods it says', async () => {
    for (const [method, path, operation] of operations()) {
      const address = server.api + path.replace(/\{\w+\}/g, 'x');
      const answer = await call(address, {
        method: method.toUpperCase(),
        headers: { 'content-type': 'application/json' },
        body: method === 'get' ? '' : '{}',
      });
      const isPublic = operation.security.length === 0;
      if (!isPublic) assert.equal(answer.status, 401, `${method} ${path}`);
      else assert.notEqual(answer.status, 401, `${method} ${path}`);
      assert.ok(isPublic || operation['x-permission'], `${method} ${path} has a permission`);
      assert.ok(
        operation.responses[answer.status] || (isPublic && answer.status >= 400),
        `${method} ${path}: ${answer.status}`,
      );
      const other = METHODS.find((name) => !document.paths[path][name])!;
      const refused = await call(address, { method: other.toUpperCase() });
      assert.equal(refused.status, 405, `${other} ${path}`);
      assert.match(refused.headers.allow!, new RegExp(`\\b${method.toUpperCase()}\\b`));
    }
  });

  it('attribute filters, OTLP and errors are in it', () => {
    const names = (path: string) => document.paths[path].get.parameters.map((one: Json) => one.name);
    assert.ok(
      names('/api/v1/logs').includes('attr.<key>') && names('/api/v1/logs').includes('resource.<key>'),
    );
    assert.ok(names('/api/v1/metrics/query').includes('filter.<key>'));
    const { post } = document.paths['/v1/traces'];
    assert.deepEqual(Object.keys(post.requestBody.content), ['application/x-protobuf', 'application/json']);
    assert.ok(post.responses[202] && post.responses[429] && post.responses[503]);
    assert.deepEqual(document.components.schemas.Error.required.length, 7);
  });

  it('the page loads nothing from elsewhere and runs no text of its own', async () => {
    const page = await call(`${server.api}/docs`, { method: 'GET' });
    const html = page.body.toString();
    assert.equal(page.status, 200);
    assert.match(page.headers['content-type']!, /^text\/html/);
    assert.match(
      String(page.headers['content-security-policy']),
      /default-src 'none'; script-src 'self'; style-src 'self';/,
    );
    assert.doesNotMatch(String(page.headers['content-security-policy']), /unsafe/);
    assert.doesNotMatch(html, /<script>|\son\w+=|style=|https?:/);
    const files = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, file]) => file);
    assert.equal(files.length, 4);
    for (const file of files) {
      const { status, headers, body } = await call(server.api + file, { method: 'GET' });
      assert.deepEqual([status, headers['cache-control']], [200, 'public, max-age=86400'], file);
      assert.ok(body.length > 100);
    }
    for (const file of ['package.json', '..%2Fpackage.json', '%2Fetc%2Fpasswd', 'index.html', 'constructor'])
      assert.equal((await call(`${server.api}/docs/${file}`, { method: 'GET' })).status, 404, file);
  });
});
