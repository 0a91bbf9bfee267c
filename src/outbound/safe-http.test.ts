import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { RECEIVER_CERTIFICATE } from '../../test/support/receiver-certificate.js';
import { HttpReceiver, startSilence } from '../../test/support/receivers.js';
import { Outside } from './outside.js';
import type { Resolve } from './resolve.js';
import { destinationOf, post, retryAfterMs } from './safe-http.js';
import { RefusedError, SendError } from './send-error.js';

const NEVER = new AbortController().signal;
let receiver: HttpReceiver;
let secured: HttpReceiver;
before(async () => {
  receiver = await HttpReceiver.start();
  secured = await HttpReceiver.start('tls');
});
after(() => Promise.all([receiver.close(), secured.close()]));
afterEach(() => {
  receiver.received.length = 0;
  receiver.answering = (response) => response.end('ok');
});

const inside = (resolve?: Resolve, maxSendMs?: number) =>
  new Outside({ allowNetworks: ['127.0.0.1'], resolve, maxSendMs, ca: RECEIVER_CERTIFICATE });
const send = (outside: Outside, url: string, signal = NEVER) =>
  post(outside, { url, headers: { 'x-a': 'b' }, body: '{"ü":1}' }, outside.limit(signal));
/** The SendError that this ends in. */
const failure = async (work: Promise<unknown>): Promise<SendError> => {
  const error = await work.then(
    () => assert.fail('it was sent'),
    (error: unknown) => error,
  );
  assert.ok(error instanceof SendError, String(error));
  return error;
};

describe('A message by HTTP', () => {
  it('is one POST with its headers and body', async () => {
    assert.equal(await send(inside(), receiver.url('/a?b=c')), 200);
    const [{ path, headers, body }] = receiver.received;
    assert.deepEqual([path, headers['x-a'], body], ['/a?b=c', 'b', '{"ü":1}']);
    assert.equal(headers.host, `127.0.0.1:${receiver.port}`);
  });

  it('is taken with any status from 200 to 299', async () => {
    for (const status of [200, 201, 202, 204, 299]) {
      receiver.answer(status, {}, status === 204 ? '' : 'x');
      assert.equal(await send(inside(), receiver.url()), status);
    }
  });

  it('goes over TLS to who can prove the name that was asked for, and to nobody else', async () => {
    const outside = inside(async () => ['127.0.0.1']);
    assert.equal(await send(outside, secured.url('/', 'receiver.test')), 200);
    const { message } = await failure(send(outside, secured.url('/', 'other.test')));
    assert.match(message, /certificate is not valid/);
    await failure(send(outside, secured.url('/', '127.0.0.1')));
    const strangers = new Outside({ allowNetworks: ['127.0.0.1'], resolve: async () => ['127.0.0.1'] });
    assert.match((await failure(send(strangers, secured.url('/', 'receiver.test')))).message, /certificate/);
    assert.equal(secured.received.length, 1);
  });

  it('that is refused is tried again or not, by the status', async () => {
    for (const status of [400, 401, 403, 404, 405, 410, 413, 422]) {
      receiver.answer(status);
      const error = await failure(send(inside(), receiver.url()));
      assert.deepEqual([error.status, error.isPermanent], [status, true]);
    }
    for (const status of [408, 425, 429, 500, 502, 503, 504]) {
      receiver.answer(status);
      const error = await failure(send(inside(), receiver.url()));
      assert.deepEqual([error.status, error.isPermanent, error.retryAfterMs], [status, false, undefined]);
    }
  });

  it('is tried again after the pause that 429 and 503 ask for', async () => {
    for (const status of [429, 503]) {
      receiver.answer(status, { 'retry-after': '7' });
      assert.equal((await failure(send(inside(), receiver.url()))).retryAfterMs, 7000);
    }
    receiver.answer(400, { 'retry-after': '7' });
    assert.equal((await failure(send(inside(), receiver.url()))).retryAfterMs, undefined);
  });

  it('is never sent on: a redirect is a failure for good', async () => {
    const targets = [
      'http://127.0.0.1/',
      'http://169.254.169.254/latest/meta-data/',
      receiver.url('/other'),
      '/other',
    ];
    for (const location of targets) {
      for (const status of [301, 302, 303, 307, 308]) {
        receiver.received.length = 0;
        receiver.answer(status, { location });
        const error = await failure(send(inside(), receiver.url()));
        assert.deepEqual([error.status, error.isPermanent], [status, true]);
        assert.equal(receiver.received.length, 1, 'the place it came from alone was asked');
      }
    }
  });

  it('repeats nothing that the receiver says', async () => {
    receiver.answering = (response) => {
      response.statusMessage = 'internal-secret';
      response.writeHead(500, { 'x-internal': 'internal-secret' }).end('internal-secret');
    };
    const error = await failure(send(inside(), receiver.url()));
    assert.doesNotMatch(`${error.message} ${JSON.stringify(error)}`, /internal-secret/);
  });
});

describe('A receiver', () => {
  const isLate = ({ message }: SendError) => assert.match(message, /did not answer in time/);

  it('that takes the connection and says nothing is given up', async () => {
    const silence = await startSilence();
    isLate(await failure(send(inside(undefined, 200), `http://127.0.0.1:${silence.port}/`)));
    isLate(await failure(send(inside(undefined, 200), `https://127.0.0.1:${silence.port}/`)));
    await silence.close();
  });

  it('that takes the request and does not answer is given up', async () => {
    receiver.answering = () => undefined;
    isLate(await failure(send(inside(undefined, 200), receiver.url())));
  });

  it('whose name nobody tells is given up', async () => {
    isLate(
      await failure(
        send(
          inside(() => new Promise(() => undefined), 200),
          'http://slow.test/',
        ),
      ),
    );
  });

  it('whose name is not known, or is not told now, may have one later', async () => {
    const of = (code: string) =>
      inside(() => Promise.reject(Object.assign(new Error('said by DNS'), { code })));
    for (const [code, text] of [
      ['ENOTFOUND', 'is not known'],
      ['ESERVFAIL', 'could not be looked up'],
      ['ECONNREFUSED', 'could not be looked up'],
    ]) {
      const { message, isPermanent } = await failure(send(of(code), 'http://name.test/'));
      assert.deepEqual([message, isPermanent], [`The receiver’s name ${text}.`, false]);
    }
  });

  it('that never ends its answer has answered, and is not listened to for ever', async () => {
    receiver.answering = (response) => {
      response.writeHead(200);
      const timer = setInterval(() => response.write('x'.repeat(10_000)), 1);
      response.on('close', () => clearInterval(timer));
    };
    assert.equal(await send(inside(), receiver.url()), 200);
    receiver.answering = (response) => response.writeHead(202).write('and');
    assert.equal(await send(inside(), receiver.url()), 202);
  });

  it('is not waited for when the program stops', async () => {
    receiver.answering = () => undefined;
    const stop = new AbortController();
    const sent = failure(send(inside(), receiver.url(), stop.signal));
    setTimeout(() => stop.abort(), 50);
    assert.match((await sent).message, /was stopped/);
  });

  it('that cuts the connection, or is not there, may be there later', async () => {
    receiver.answering = (response) => response.destroy();
    const cut = await failure(send(inside(), receiver.url()));
    assert.deepEqual([cut.message, cut.isPermanent], ['The receiver cut the connection.', false]);
    const gone = await HttpReceiver.start();
    const url = gone.url();
    await gone.close();
    const refused = await failure(send(inside(), url));
    assert.deepEqual([refused.message, refused.isPermanent], ['The receiver refused the connection.', false]);
  });
});

describe('What is inside', () => {
  const isRefused = async (work: Promise<unknown>) => {
    const error = await failure(work);
    assert.ok(error instanceof RefusedError, error.message);
    assert.equal(error.isPermanent, true);
  };

  it('is not reached by an address, however it is written', async () => {
    const none = new Outside({
      allowNetworks: [],
      resolve: () => assert.fail('an address is not looked up'),
    });
    const { port } = receiver;
    for (const host of [
      '127.0.0.1',
      '0x7f.1',
      '2130706433',
      '0177.0.0.1',
      '127.1',
      '[::1]',
      '[::ffff:127.0.0.1]',
      '[::]',
      '0.0.0.0',
      '[64:ff9b::7f00:1]',
      '[2002:7f00:1::]',
      '169.254.169.254',
      '１２７.0.0.1',
    ]) {
      await isRefused(send(none, `http://${host}:${port}/`));
      await isRefused(send(none, `https://${host}:${port}/`));
      assert.ok(none.isRefused({ host, port, isPlain: false }), 'and that is known before');
    }
    assert.equal(receiver.received.length, 0);
  });

  it('is not reached by a name that leads there, not even beside good addresses', async () => {
    for (const addresses of [['127.0.0.1'], ['8.8.8.8', '127.0.0.1'], ['::ffff:10.0.0.1'], ['fe80::1%lo']]) {
      const none = new Outside({ allowNetworks: [], resolve: async () => addresses });
      await isRefused(send(none, `https://good.test:${receiver.port}/`));
    }
    assert.equal(receiver.received.length, 0);
  });

  it('is not reached by the names that this machine knows itself by', async () => {
    await isRefused(send(new Outside({ allowNetworks: [] }), `https://localhost:${receiver.port}/`));
  });

  it('does not show what a name leads to', async () => {
    const none = new Outside({ allowNetworks: [], resolve: async () => ['10.11.12.13'] });
    assert.doesNotMatch((await failure(send(none, 'https://internal.test/'))).message, /10\.11|internal/);
  });

  it('is not reached by a name that says something else when it is asked again', async () => {
    // The first answer is allowed and the second is not: were the name asked again to connect, the trap would get it.
    const trap = await HttpReceiver.start('plain', '127.0.0.2');
    const answers = [['127.0.0.1'], ['127.0.0.2']];
    let asked = 0;
    const rebinding = inside(async () => answers[asked++] ?? ['127.0.0.2']);
    const url = `http://rebinding.test:${receiver.port}/`;
    assert.equal(await send(rebinding, url), 200);
    assert.equal(asked, 1, 'once for each message');
    assert.equal(receiver.received.length, 1, 'and the answer is where it went');
    await isRefused(send(rebinding, url));
    assert.equal(trap.received.length, 0);
    await trap.close();
  });

  it('is reached without encryption where the setting opens it, and nothing else is', async () => {
    await isRefused(
      send(new Outside({ allowNetworks: [], resolve: async () => ['8.8.8.8'] }), 'http://good.test/'),
    );
    assert.equal(
      await send(
        inside(async () => ['127.0.0.1']),
        receiver.url('/', 'plain.test'),
      ),
      200,
    );
  });

  it('is reached at the next address when the first does not answer', async () => {
    const two = new Outside({
      allowNetworks: ['127.0.0.0/8'],
      resolve: async () => ['127.0.0.9', '127.0.0.1'],
    });
    assert.equal(await send(two, receiver.url('/', 'two.test')), 200);
  });
});

describe('A URL', () => {
  it('leads to a host and a port', () => {
    const of = (url: string) => {
      const { host, port, isPlain } = destinationOf(url)!;
      return [host, port, isPlain];
    };
    assert.deepEqual(of('https://a.example/x'), ['a.example', 443, false]);
    assert.deepEqual(of('http://a.example:8080'), ['a.example', 8080, true]);
    assert.deepEqual(of('https://[2606:4700::1]:444/'), ['2606:4700::1', 444, false]);
  });

  it('with a user, of another scheme, or that is none is not sent to', () => {
    for (const url of [
      'https://user@host/',
      'https://user:pass@host/',
      'https://:pass@host/',
      'https://good.example@127.0.0.1/',
      'ftp://host/',
      'file:///etc/passwd',
      'gopher://host/',
      'unix:/var/run/docker.sock',
      'javascript:alert(1)',
      'data:,x',
      '//host/',
      'host',
      '',
      'https://',
      'https://[fe80::1%25eth0]/',
      'https://host:99999/',
      `https://host/${'x'.repeat(5000)}`,
    ])
      assert.equal(destinationOf(url), undefined, url);
  });
});

describe('Retry-After', () => {
  it('is seconds or a date, and not more than an hour', () => {
    const now = Date.parse('2026-01-01T00:00:00Z');
    const pauses: [string | undefined, number | undefined][] = [
      [undefined, undefined],
      ['0', 0],
      ['1.5', 1500],
      [' 120 ', 120_000],
      ['86400', 3_600_000],
      ['Thu, 01 Jan 2026 00:00:30 GMT', 30_000],
      ['Wed, 31 Dec 2025 23:00:00 GMT', 0],
      ['Fri, 02 Jan 2026 00:00:00 GMT', 3_600_000],
      ['soon', undefined],
      ['-5', undefined],
    ];
    for (const [header, pause] of pauses) assert.equal(retryAfterMs(header, now), pause, header);
  });
});
