import assert from 'node:assert/strict';
import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { verifyOtlp } from '../src/verify/verify-otlp.js';
import { makeDataDir, Program, Server } from './support/server.js';

/** Hands the API's answers on with one of them changed, as a server that loses a field would. */
async function forgetful(
  api: string,
  change: (text: string) => string,
): Promise<{ url: string; server: HttpServer }> {
  const server = createServer(async (request, response) => {
    const { authorization = '' } = request.headers;
    const answer = await fetch(`${api}${request.url}`, { headers: { authorization } });
    response
      .writeHead(answer.status, { 'content-type': 'application/json' })
      .end(change(await answer.text()));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

describe('The round trip of every OTLP field', () => {
  let server: Server;
  before(async () => {
    server = await Server.start(makeDataDir());
  });
  after(() => server.stop());

  for (const port of ['otlp', 'api'] as const) {
    it(`is exact through the ${port} port`, async () => {
      const { compared, different, report } = await verifyOtlp({
        endpoint: server[port],
        api: server.api,
        key: server.key,
      });
      assert.deepEqual(
        report.filter((line) => !line.startsWith('ok ')),
        [],
      );
      assert.equal(different, 0);
      assert.ok(compared > 10_000, `${compared} compared`);
    });
  }

  it('is printed field by field by the command, which ends with 0', async () => {
    const command = new Program(
      ['verify-otlp', '--endpoint', server.otlp, '--api', `${server.api}/`, '--key', server.key],
      {},
    );
    assert.deepEqual(await command.exited, { code: 0, signal: null }, command.output);
    assert.match(
      command.stdout,
      /^ok +protobuf +resourceSpans\[0\]\.scopeSpans\[0\]\.spans\[0\]\.traceState +-> +trace_state$/m,
    );
    assert.match(
      command.stdout,
      /^ok +json +resourceMetrics\S+\.summary\.dataPoints\[0\]\.quantileValues\[1\]\.value +->/m,
    );
    assert.match(command.stdout, /\n\d+ fields compared, \d+ ok, 0 different\n$/);
  });

  it('that loses a field is told with what was expected, and the command ends with 1', async () => {
    const proxy = await forgetful(server.api, (text) =>
      text.replace('"dropped_links_count":4294967295', '"dropped_links_count":0'),
    );
    const command = new Program(
      ['verify-otlp', '--endpoint', server.otlp, '--api', proxy.url, '--key', server.key],
      {},
    );
    assert.deepEqual(await command.exited, { code: 1, signal: null }, command.output);
    proxy.server.close();
    const told = 'spans[0].droppedLinksCount  ->  dropped_links_count: expected 4294967295, got 0';
    assert.equal(command.stdout.split(told).length, 3, 'once for each encoding');
    assert.match(command.stdout, /, 2 different\n$/);
  });
});

describe('verify-otlp without a server', () => {
  it('says so and how to start one', async () => {
    const command = new Program(['verify-otlp', '--endpoint', 'http://127.0.0.1:9'], {});
    assert.deepEqual(await command.exited, { code: 1, signal: null });
    assert.match(
      command.stderr,
      /^Nobody answers at http:\/\/127\.0\.0\.1:9\/v1\/traces \(.*\)\. Start the server first/,
    );
  });

  it('refuses options that it does not know', async () => {
    const command = new Program(['verify-otlp', '--endpiont', 'x'], {});
    assert.deepEqual(await command.exited, { code: 1, signal: null });
    assert.match(command.stderr, /Unknown option '--endpiont'/);
  });
});
