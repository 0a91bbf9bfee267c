import assert from 'node:assert/strict';
import { connect, createServer, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { answerOf, type GrpcAnswer, readGrpcError } from '../../test/support/grpc-client.js';
import { AppError } from '../errors.js';
import { sendMessage, sendRefusal } from './grpc-answer.js';
import { timeoutMs } from './otlp-grpc.js';

describe('The answer to a gRPC call', () => {
  let answer: (stream: ServerHttp2Stream) => void;
  const server = createServer().on('stream', (stream) => answer(stream));
  before(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)));
  after(() => server.close());

  async function seen(by: (stream: ServerHttp2Stream) => void): Promise<GrpcAnswer> {
    answer = by;
    const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const result = await answerOf(session.request({ ':method': 'POST' }).end());
    session.close();
    return result;
  }
  const refused = async (error: AppError) =>
    readGrpcError(await seen((stream) => sendRefusal(stream, error)));

  it('a passing fault says when to come back, in both places that clients look', async () => {
    assert.deepEqual(await refused(new AppError('BACKLOG_FULL', 'full')), {
      code: 14,
      message: 'full',
      retrySeconds: 1,
    });
    const limited = new AppError('RATE_LIMITED', 'too many', { retryAfterSeconds: 2 });
    assert.deepEqual(await refused(limited), { code: 8, message: 'too many', retrySeconds: 2 });
  });

  it('what is too large says nothing of the kind: it would be sent again for ever', async () => {
    assert.deepEqual(await refused(new AppError('BODY_TOO_LARGE', 'too large')), {
      code: 8,
      message: 'too large',
    });
  });

  it('any text arrives whole, if it is not too long for headers', async () => {
    for (const text of ['100 % of "it"', 'ünïcode 日本\r\nx', 'a\u0000b']) {
      assert.equal((await refused(new AppError('MALFORMED_BODY', text))).message, text);
    }
    assert.equal((await refused(new AppError('MALFORMED_BODY', 'half \ud83d'))).message, 'half \ufffd');
    const long = await refused(new AppError('MALFORMED_BODY', '日'.repeat(10_000)));
    assert.equal(long.message, `${'日'.repeat(512)}…`);
  });

  it('is given once', async () => {
    const twice = await seen((stream) => {
      sendRefusal(stream, new AppError('REQUEST_TIMEOUT', 'The deadline has passed.'));
      sendMessage(stream, Buffer.from('late'));
    });
    assert.equal(readGrpcError(twice).code, 4);
  });
});

it('grpc-timeout is read in every unit; without one, or with one that is wrong, there is no deadline', () => {
  assert.equal(timeoutMs('10S'), 10_000);
  assert.equal(timeoutMs('250m'), 250);
  assert.equal(timeoutMs('99999999H'), 99_999_999 * 3_600_000);
  assert.equal(timeoutMs('1M'), 60_000);
  assert.equal(timeoutMs('5000u'), 5);
  assert.equal(timeoutMs('1000000n'), 1);
  for (const header of [undefined, '', '10', 'S', '1 S', '123456789S', '-1S'])
    assert.equal(timeoutMs(header), Number.POSITIVE_INFINITY);
});
