import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { SMTPServerOptions } from 'smtp-server';
import { HOSTILE, makeIncident, makeNotice } from '../../test/support/notices.js';
import { RECEIVER_CERTIFICATE } from '../../test/support/receiver-certificate.js';
import { MailReceiver, startSilence } from '../../test/support/receivers.js';
import { Outside } from '../outbound/outside.js';
import { SendError } from '../outbound/send-error.js';
import { email } from './email.js';

const outside = (maxSendMs?: number) =>
  new Outside({
    allowNetworks: ['127.0.0.1'],
    resolve: async () => ['127.0.0.1'],
    ca: RECEIVER_CERTIFICATE,
    maxSendMs,
  });
const settings = (port: number, change = {}) => ({
  host: 'receiver.test',
  port,
  security: 'starttls' as const,
  from: 'alerts@acme.example',
  to: ['a@acme.example', 'b@acme.example'],
  ...change,
});
const message = (notice = makeNotice()) => ({
  notice,
  channelId: 'c',
  deliveryId: '00000000-0000-4000-8000-0000000000dd',
  nowMs: Date.parse('2026-01-02T03:05:01Z'),
});
const send = (port: number, change = {}, notice = makeNotice(), way = outside()) =>
  email.send(settings(port, change), message(notice), way, way.limit(new AbortController().signal));
const failure = async (work: Promise<unknown>): Promise<SendError> => {
  const error = await work.then(
    () => assert.fail('it was sent'),
    (error: unknown) => error,
  );
  assert.ok(error instanceof SendError, String(error));
  assert.doesNotMatch(error.message, /said by the server/);
  return error;
};
/** With a mail server of this kind. */
async function withServer<T>(
  options: SMTPServerOptions,
  work: (receiver: MailReceiver) => Promise<T>,
): Promise<T> {
  const receiver = await MailReceiver.start(options);
  try {
    return await work(receiver);
  } finally {
    await receiver.close();
  }
}
const refusing = (responseCode: number) =>
  Object.assign(new Error('said by the server: no'), { responseCode });

describe('An email', () => {
  let receiver: MailReceiver;
  before(async () => {
    receiver = await MailReceiver.start();
  });
  after(() => receiver.close());

  it('is encrypted, goes to all recipients, and can be known again', async () => {
    assert.deepEqual(await send(receiver.port), { status: 250 });
    const { source, ...mail } = receiver.mails.pop()!;
    assert.deepEqual(mail, {
      from: 'alerts@acme.example',
      to: ['a@acme.example', 'b@acme.example'],
      isEncrypted: true,
      user: undefined,
    });
    const [head] = source.split('\r\n\r\n', 1);
    const headers = head.replace(/\r\n[ \t]+/g, ' ').split('\r\n');
    const value = (name: string) =>
      headers.filter((one) => one.startsWith(`${name}: `)).map((one) => one.slice(name.length + 2));
    assert.deepEqual(value('Message-ID'), ['<00000000-0000-4000-8000-0000000000dd@acme.example>']);
    assert.deepEqual(value('References'), ['<incident-00000000-0000-4000-8000-00000000000a@acme.example>']);
    assert.deepEqual(value('From'), ['TelemetryFlow <alerts@acme.example>']);
    assert.deepEqual(value('To'), ['a@acme.example, b@acme.example']);
    assert.deepEqual(value('Subject'), ['Firing (critical): High error rate']);
    assert.deepEqual(value('Auto-Submitted'), ['auto-generated']);
    assert.deepEqual(value('Date'), ['Fri, 02 Jan 2026 03:05:01 +0000']);
    assert.match(source, /Content-Type: text\/plain/);
    assert.match(source, /Content-Type: text\/html/);
  });

  it('has the headers that it has, whatever others wrote', async () => {
    const names = (source: string) =>
      source
        .split('\r\n\r\n', 1)[0]
        .split('\r\n')
        .filter((line) => /^\S/.test(line))
        .map((line) => line.slice(0, line.indexOf(':')));
    await send(receiver.port);
    const expected = names(receiver.mails.pop()!.source);
    for (const text of HOSTILE) {
      const named = { id: '00000000-0000-4000-8000-000000000002', name: text.slice(0, 200) };
      const incidents = [makeIncident({ summary: text, labels: { [text]: text } })];
      await send(receiver.port, {}, makeNotice({ summary: text, rule: named, tenant: named, incidents }));
      const mail = receiver.mails.pop()!;
      assert.deepEqual(names(mail.source), expected);
      assert.deepEqual(mail.to, ['a@acme.example', 'b@acme.example']);
    }
  });

  it('is sent under a login, never before the connection is encrypted', async () => {
    await send(receiver.port, { username: 'me', password: 'right password' });
    assert.equal(receiver.mails.pop()!.user, 'me');
    const refused = await failure(send(receiver.port, { username: 'me', password: 'wrong' }));
    assert.deepEqual(
      [refused.status, refused.isPermanent, refused.message],
      [535, true, 'The mail server refused the login with 535.'],
    );
    await withServer({ disabledCommands: ['STARTTLS'] }, async ({ port, mails }) => {
      const plain = await failure(send(port, { username: 'me', password: 'right password' }));
      assert.match(plain.message, /offers no encryption/);
      assert.equal(mails.length, 0);
    });
  });

  it('goes to the server that can prove its name alone', async () => {
    assert.match((await failure(send(receiver.port, { host: 'other.test' }))).message, /certificate/);
    assert.equal(receiver.mails.length, 0);
  });

  it('goes over TLS from the first byte where that is wanted', async () => {
    await withServer({ secure: true }, async ({ port, mails }) => {
      assert.deepEqual(await send(port, { security: 'tls' }), { status: 250 });
      assert.ok(mails[0].isEncrypted);
      const wrong = await failure(send(port, { security: 'tls', host: 'other.test' }));
      assert.equal(wrong.isPermanent, false);
    });
  });

  it('goes without encryption inside the allowed networks alone', async () => {
    assert.deepEqual(await send(receiver.port, { security: 'none' }), { status: 250 });
    assert.equal(receiver.mails.pop()!.isEncrypted, false);
    const open = new Outside({ allowNetworks: [], resolve: async () => ['8.8.8.8'] });
    assert.equal((await failure(send(587, { security: 'none' }, makeNotice(), open))).name, 'RefusedError');
  });

  it('goes to no mail server inside, whatever it is called', async () => {
    for (const host of ['127.0.0.1', '0x7f.1', '::1', 'internal.test', 'localhost']) {
      const shut = new Outside({ allowNetworks: [], resolve: async () => ['127.0.0.1'] });
      assert.equal(
        (await failure(send(receiver.port, { host }, makeNotice(), shut))).name,
        'RefusedError',
        host,
      );
    }
    assert.equal(receiver.mails.length, 0);
  });
});

describe('A mail server', () => {
  it('that refuses for good is not tried again, one that refuses for now is', async () => {
    for (const [code, isPermanent] of [
      [421, false],
      [450, false],
      [451, false],
      [550, true],
      [554, true],
    ] as const) {
      const options: SMTPServerOptions[] = [
        { onMailFrom: (_, __, callback) => callback(refusing(code)) },
        { onRcptTo: (_, __, callback) => callback(refusing(code)) },
        {
          onData: (stream, _, callback) => {
            stream.resume().on('end', () => callback(refusing(code)));
          },
        },
      ];
      for (const one of options) {
        const error = await withServer(one, ({ port }) => failure(send(port)));
        assert.deepEqual([error.status, error.isPermanent], [code, isPermanent]);
      }
    }
  });

  it('that refuses some recipients has told the others, who are not told twice', async () => {
    const onRcptTo: SMTPServerOptions['onRcptTo'] = ({ address }, _, callback) =>
      callback(address.startsWith('b@') ? refusing(550) : null);
    await withServer({ onRcptTo }, async ({ port, mails }) => {
      assert.deepEqual(await send(port), { status: 250, remark: '1 of 2 recipients were refused.' });
      assert.deepEqual(mails[0].to, ['a@acme.example']);
    });
  });

  it('that hangs is given up: at its greeting, and after the message', async () => {
    const silence = await startSilence();
    for (const security of ['starttls', 'tls', 'none']) {
      const { message, isPermanent } = await failure(
        send(silence.port, { security }, makeNotice(), outside(300)),
      );
      assert.deepEqual([message, isPermanent], ['The receiver did not answer in time.', false], security);
    }
    await silence.close();
    const onData: SMTPServerOptions['onData'] = (stream) => void stream.resume();
    await withServer({ onData, closeTimeout: 100 }, async ({ port }) => {
      const { message } = await failure(send(port, {}, makeNotice(), outside(1000)));
      assert.equal(message, 'The receiver did not answer in time.');
    });
  });

  it('that is not there may be there later', async () => {
    const silence = await startSilence();
    await silence.close();
    const { message, isPermanent } = await failure(send(silence.port));
    assert.deepEqual([message, isPermanent], ['The receiver refused the connection.', false]);
  });
});
