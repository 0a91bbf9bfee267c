import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { HttpReceiver, MailReceiver } from '../../test/support/receivers.js';
import { type Answer, TenantsApp } from '../../test/support/tenants-app.js';
import { CONFIG } from '../config.js';
import { openPostgres, type Postgres } from '../connections/postgres.js';
import type { Scope } from '../edge/scope.js';
import { Outside } from '../outbound/outside.js';
import { SecretBox } from '../secret-box.js';
import { renewSecrets } from './channel-rows.js';
import { ChannelsController, DeliveriesController } from './notifications.controller.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-channels-'));
const KEY = Buffer.from('a key of this test that is long enough');
const PATH = '/notification-channels';
/** In everything that is to be kept secret. */
const HUSH = 'hush-hush';
let postgres: Postgres;
let app: TenantsApp;
let ours: Scope;
let receiver: HttpReceiver;

before(async () => {
  postgres = await openPostgres({ DATA_DIR: folder, DATABASE_URL: undefined });
  receiver = await HttpReceiver.start();
  app = await TenantsApp.open(postgres, {
    controllers: [ChannelsController, DeliveriesController],
    providers: [
      { provide: SecretBox, useValue: new SecretBox(KEY) },
      { provide: Outside, useValue: new Outside({ allowNetworks: ['127.0.0.1'], maxSendMs: 5000 }) },
      { provide: CONFIG, useValue: { PUBLIC_URL: 'https://tf.example' } },
    ],
  });
  ours = await app.makeOrganization('ours', true);
  await app.makeUser('editor', ours, 'editor');
  await app.makeUser('viewer', ours, 'viewer');
  await app.makeUser('admin', ours, 'admin');
  await app.makeKey('sibling', { ...ours, tenantId: await app.makeTenant(ours.workspaceId, 'sibling') });
  await app.makeUser('stranger', await app.makeOrganization('theirs'), 'owner');
});
after(async () => {
  await app.close();
  await postgres.close();
  await receiver.close();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  receiver.received.length = 0;
  receiver.answering = (response) => response.end('ok');
});

const webhook = () => ({
  url: receiver.url(`/${HUSH}`),
  secret: `${HUSH} ${'x'.repeat(24)}`,
  headers: { Authorization: `Bearer ${HUSH}` },
});
const SETTINGS: Record<string, () => Record<string, unknown>> = {
  email: () => ({
    host: '127.0.0.1',
    port: 2525,
    security: 'none',
    username: 'me',
    password: HUSH,
    from: 'alerts@acme.example',
    to: ['a@acme.example'],
  }),
  slack: () => ({ url: `https://hooks.slack.example/${HUSH}` }),
  teams: () => ({ url: `https://teams.example/${HUSH}?sig=${HUSH}` }),
  discord: () => ({ url: `https://discord.example/${HUSH}` }),
  webhook,
  pagerduty: () => ({ url: 'https://events.pagerduty.com/v2/enqueue', routing_key: 'f00d'.repeat(8) }),
};
let made = 0;
const make = async (kind: string, settings = SETTINGS[kind](), as = 'editor') => {
  const answer = await app.request(as, 'POST', PATH, { name: `${kind} ${++made}`, kind, settings });
  assert.equal(answer.status, 201, JSON.stringify(answer.body));
  return answer.body;
};
const fields = ({ body }: Answer) => body.details?.map(({ field }: { field: string }) => field);

describe('Channels', () => {
  it('are made, read, changed and deleted, each kind with its own settings', async () => {
    for (const kind of Object.keys(SETTINGS)) {
      const channel = await make(kind);
      assert.deepEqual((await app.request('viewer', 'GET', `${PATH}/${channel.id}`)).body, channel);
      assert.deepEqual(
        [channel.kind, channel.enabled, channel.has_secret, channel.secret_readable],
        [kind, true, true, true],
      );
      const name = `renamed ${kind}`;
      const changed = await app.request('editor', 'PATCH', `${PATH}/${channel.id}`, { name, enabled: false });
      assert.deepEqual([changed.status, changed.body.name, changed.body.enabled], [200, name, false]);
      assert.deepEqual(changed.body.settings, channel.settings);
      assert.equal((await app.request('editor', 'DELETE', `${PATH}/${channel.id}`)).status, 204);
      assert.equal((await app.request('viewer', 'GET', `${PATH}/${channel.id}`)).status, 404);
    }
  });

  it('are listed by kind, with pages', async () => {
    const ids = [(await make('slack')).id, (await make('slack')).id];
    const first = await app.request('viewer', 'GET', `${PATH}?kind=slack&limit=1`);
    assert.deepEqual(
      first.body.data.map(({ id }: { id: string }) => id),
      [ids[0]],
    );
    const second = await app.request(
      'viewer',
      'GET',
      `${PATH}?kind=slack&limit=1&cursor=${first.body.next_cursor}`,
    );
    assert.deepEqual(
      second.body.data.map(({ id }: { id: string }) => id),
      [ids[1]],
    );
  });

  it('have one name each in their tenant', async () => {
    const settings = SETTINGS.slack();
    const body = { name: 'Twice', kind: 'slack', settings };
    assert.equal((await app.request('editor', 'POST', PATH, body)).status, 201);
    assert.equal((await app.request('editor', 'POST', PATH, { ...body, name: 'twice' })).status, 409);
    assert.equal((await app.request('sibling', 'POST', PATH, body)).status, 201);
  });

  it('are read by who may read, and changed by who may write', async () => {
    const { id } = await make('slack');
    assert.equal((await app.request('viewer', 'PATCH', `${PATH}/${id}`, { name: 'x' })).status, 403);
    assert.equal((await app.request('viewer', 'DELETE', `${PATH}/${id}`)).status, 403);
    assert.equal((await app.request('viewer', 'POST', `${PATH}/${id}/test`)).status, 403);
    assert.equal((await app.request('viewer', 'POST', PATH, {})).status, 403);
    assert.equal((await app.request(undefined, 'GET', PATH)).status, 401);
  });

  it('of others are not there', async () => {
    const { id } = await make('webhook');
    for (const who of ['stranger', 'sibling']) {
      assert.equal((await app.request(who, 'GET', `${PATH}/${id}`)).status, 404);
      assert.equal((await app.request(who, 'PATCH', `${PATH}/${id}`, { name: 'x' })).status, 404);
      assert.equal((await app.request(who, 'DELETE', `${PATH}/${id}`)).status, 404);
      assert.equal((await app.request(who, 'POST', `${PATH}/${id}/test`)).status, 404);
      const listed = await app.request(who, 'GET', PATH);
      assert.ok(!JSON.stringify(listed.body).includes(id));
    }
    assert.equal((await app.request('viewer', 'GET', `${PATH}/${id}`)).status, 200);
    assert.equal(receiver.received.length, 0);
  });

  it('with settings that will not do are refused, naming each field and repeating nothing', async () => {
    const wrong: [string, object | string | undefined, string[]][] = [
      ['slack', undefined, ['settings']],
      ['slack', `https://hooks.example/${HUSH}`, ['settings']],
      ['slack', { url: `ftp://${HUSH}` }, ['settings.url']],
      ['slack', { url: `https://user:${HUSH}@hooks.example/` }, ['settings.url']],
      ['slack', { url: `https://127.0.0.2/${HUSH}` }, ['settings.url']],
      ['slack', { url: `https://0x7f.2/${HUSH}` }, ['settings.url']],
      ['slack', { url: `https://[::ffff:169.254.169.254]/${HUSH}` }, ['settings.url']],
      ['slack', { url: `http://8.8.8.8/${HUSH}` }, ['settings.url']],
      ['slack', { url: `https://hooks.example/${HUSH}`, [HUSH]: HUSH }, [`settings.${HUSH}`]],
      ['webhook', { ...webhook(), secret: HUSH }, ['settings.secret']],
      ['webhook', { ...webhook(), secret: `whsec_${HUSH}` }, ['settings.secret']],
      ['webhook', { ...webhook(), headers: { Host: HUSH } }, ['settings.headers']],
      ['webhook', { ...webhook(), headers: { 'Content-Length': HUSH } }, ['settings.headers']],
      ['webhook', { ...webhook(), headers: { 'webhook-signature': HUSH } }, ['settings.headers']],
      ['webhook', { ...webhook(), headers: { 'a b': HUSH } }, ['settings.headers']],
      ['webhook', { ...webhook(), headers: { a: `x\r\nHost: ${HUSH}` } }, ['settings.headers.a']],
      ['pagerduty', { ...SETTINGS.pagerduty(), routing_key: HUSH }, ['settings.routing_key']],
      ['email', { ...SETTINGS.email(), host: `${HUSH}:25` }, ['settings.host']],
      ['email', { ...SETTINGS.email(), host: '10.0.0.1' }, ['settings.host']],
      ['email', { ...SETTINGS.email(), port: 0 }, ['settings.port']],
      ['email', { ...SETTINGS.email(), from: `${HUSH}\r\nBcc: x@y.example` }, ['settings.from']],
      ['email', { ...SETTINGS.email(), to: [] }, ['settings.to']],
      ['email', { ...SETTINGS.email(), to: ['a@acme.example', HUSH] }, ['settings.to.1']],
      ['email', { ...SETTINGS.email(), username: undefined }, ['settings.password']],
    ];
    for (const [kind, settings, expected] of wrong) {
      const answer = await app.request('editor', 'POST', PATH, { name: 'wrong', kind, settings });
      assert.equal(answer.status, 400, JSON.stringify(settings));
      assert.deepEqual(fields(answer), expected, JSON.stringify(answer.body));
      const { details, message } = answer.body;
      const repeated = JSON.stringify({ details, message }).replaceAll(`settings.${HUSH}`, '');
      assert.ok(!repeated.includes(HUSH), repeated);
    }
    const unknown = await app.request('editor', 'POST', PATH, { name: 'x', kind: 'fax', settings: {} });
    assert.deepEqual([unknown.status, fields(unknown)], [400, ['kind']]);
  });
});

describe('Secrets of a channel', () => {
  it('are never shown, in no answer, list, record or row', async () => {
    for (const kind of Object.keys(SETTINGS)) {
      const settings = SETTINGS[kind]();
      const secret = kind === 'pagerduty' ? 'f00df00d' : HUSH;
      const channel = await make(kind, settings);
      const answers = [
        channel,
        await app.request('editor', 'GET', `${PATH}/${channel.id}`),
        await app.request('editor', 'GET', PATH),
        await app.request('editor', 'PATCH', `${PATH}/${channel.id}`, {
          name: `new ${kind}`,
          settings: { ...settings },
        }),
        await app.request('admin', 'GET', '/audit'),
        await postgres.query(
          `SELECT id, name, settings, encode(secrets, 'escape') FROM notification_channels`,
        ),
        await postgres.query('SELECT * FROM audit_log'),
        await postgres.query('SELECT * FROM notification_deliveries'),
      ];
      for (const answer of answers)
        assert.ok(!JSON.stringify(answer).includes(secret), JSON.stringify(answer));
    }
  });

  it('are shown as being there, with the host of a URL and the names of headers', async () => {
    const { settings } = await make('webhook');
    const origin = `http://127.0.0.1:${receiver.port}`;
    assert.deepEqual(settings, { url: `${origin}/***`, secret: '***', headers: { Authorization: '***' } });
    assert.equal((await make('email')).settings.password, '***');
  });

  it('stay when a change leaves them out or sends them back as they are shown, and go with null', async () => {
    const channel = await make('webhook');
    const sent = async () => {
      receiver.received.length = 0;
      assert.equal((await app.request('editor', 'POST', `${PATH}/${channel.id}/test`)).body.sent, true);
      const [{ path, headers }] = receiver.received;
      return [path, headers.authorization, headers['webhook-signature'] !== undefined];
    };
    const all = [`/${HUSH}`, `Bearer ${HUSH}`, true];
    assert.deepEqual(await sent(), all);
    for (const settings of [{}, channel.settings]) {
      const answer = await app.request('editor', 'PATCH', `${PATH}/${channel.id}`, { settings });
      assert.deepEqual(answer.body.settings, channel.settings);
      assert.deepEqual(await sent(), all);
    }
    await app.request('editor', 'PATCH', `${PATH}/${channel.id}`, {
      settings: { secret: null, headers: null },
    });
    assert.deepEqual(await sent(), [`/${HUSH}`, undefined, false]);
  });

  it('do not follow the address: who changes it gives them again', async () => {
    const channel = await make('webhook');
    const path = `${PATH}/${channel.id}`;
    const url = receiver.url('/elsewhere');
    const moved = await app.request('editor', 'PATCH', path, { settings: { ...channel.settings, url } });
    assert.deepEqual([moved.status, fields(moved)], [400, ['settings.secret', 'settings.headers']]);
    assert.equal(
      (await app.request('editor', 'PATCH', path, { settings: { ...webhook(), url } })).status,
      200,
    );
    const mail = await make('email');
    for (const change of [{ host: 'evil.example' }, { port: 2526 }, { security: 'tls' }]) {
      const answer = await app.request('editor', 'PATCH', `${PATH}/${mail.id}`, {
        settings: { ...mail.settings, ...change },
      });
      assert.deepEqual([answer.status, fields(answer)], [400, ['settings.password']], JSON.stringify(change));
    }
    const settings = { ...mail.settings, to: ['b@acme.example'] };
    assert.deepEqual(
      (await app.request('editor', 'PATCH', `${PATH}/${mail.id}`, { settings })).body.settings,
      settings,
    );
  });

  it('are written anew under a new key, and can be given again where the old one is lost', async () => {
    const { id } = await make('slack');
    const keyOf = async () =>
      (
        await postgres.query<{ key_id: string }>('SELECT key_id FROM notification_channels WHERE id = $1', [
          id,
        ])
      )[0].key_id;
    const next = new SecretBox(Buffer.from('the next key of this test, long enough'), KEY);
    const lost = new SecretBox(Buffer.from('quite another key of this test, long'));
    assert.ok((await renewSecrets(postgres.dataSource, lost)).unreadable > 0);
    assert.equal(await keyOf(), new SecretBox(KEY).keyId);
    const { renewed, unreadable } = await renewSecrets(postgres.dataSource, next);
    assert.ok(renewed > 0);
    assert.deepEqual([unreadable, await keyOf()], [0, next.keyId]);

    // This program still has the key before alone.
    const { body } = await app.request('editor', 'GET', `${PATH}/${id}`);
    assert.deepEqual([body.has_secret, body.secret_readable, body.settings], [true, false, {}]);
    const test = await app.request('editor', 'POST', `${PATH}/${id}/test`);
    assert.deepEqual([test.body.sent, /SECRET_KEY/.test(test.body.reason)], [false, true]);
    const renamed = await app.request('editor', 'PATCH', `${PATH}/${id}`, { name: 'unreadable' });
    assert.deepEqual(
      [renamed.body.name, await keyOf()],
      ['unreadable', next.keyId],
      'the secret stays as it is',
    );
    const again = await app.request('editor', 'PATCH', `${PATH}/${id}`, { settings: SETTINGS.slack() });
    assert.deepEqual([again.status, again.body.secret_readable], [200, true]);
    const back = new SecretBox(KEY, Buffer.from('the next key of this test, long enough'));
    assert.equal((await renewSecrets(postgres.dataSource, back)).unreadable, 0);
  });
});

describe('A test message', () => {
  const test = async (id: string) => (await app.request('editor', 'POST', `${PATH}/${id}/test`)).body;

  it('is sent at once, and is listed', async () => {
    for (const kind of ['slack', 'teams', 'discord', 'webhook', 'pagerduty']) {
      receiver.received.length = 0;
      const { id } = await make(kind, { ...SETTINGS[kind](), url: receiver.url() });
      const { delivery_id, elapsed_ms, ...result } = await test(id);
      assert.deepEqual(result, { sent: true, status: 200, reason: null });
      assert.ok(elapsed_ms >= 0);
      assert.match(receiver.received[0].body, /test/i);
      const { data } = (await app.request('viewer', 'GET', `/notification-deliveries?channel_id=${id}`)).body;
      assert.deepEqual(
        data.map((row: Record<string, unknown>) => [
          row.id,
          row.kind,
          row.state,
          row.attempts,
          row.last_status,
        ]),
        [[delivery_id, 'test', 'sent', 1, 200]],
      );
    }
  });

  it('by email goes over SMTP', async () => {
    const mails = await MailReceiver.start();
    const { port } = mails;
    const { id } = await make('email', {
      ...SETTINGS.email(),
      port,
      username: undefined,
      password: undefined,
    });
    assert.equal((await test(id)).status, 250);
    assert.equal(mails.mails.length, 1);
    await mails.close();
  });

  it('that fails says why, in our words alone', async () => {
    const { id } = await make('slack', { url: receiver.url() });
    receiver.answer(404, {}, 'internal-secret');
    const { delivery_id, elapsed_ms, ...result } = await test(id);
    assert.deepEqual(result, { sent: false, status: 404, reason: 'The receiver answered 404.' });
    receiver.answering = () => undefined;
    const { status, reason } = await test(id);
    assert.deepEqual([status, reason], [null, 'The receiver did not answer in time.']);
    const { body } = await app.request('viewer', 'GET', '/notification-deliveries?state=failed');
    assert.ok(!JSON.stringify(body).includes('internal-secret'));
  });

  it('goes nowhere inside by a name either', async () => {
    const { id } = await make('slack', { url: `https://ip6-localhost.invalid:${receiver.port}/` });
    assert.equal((await test(id)).sent, false);
    assert.equal(receiver.received.length, 0);
  });
});

describe('What is done to channels', () => {
  it('is on record, with what changed and which secrets did', async () => {
    const { id } = await make('webhook');
    await app.request('editor', 'PATCH', `${PATH}/${id}`, { enabled: false, settings: { headers: null } });
    await app.request('editor', 'PATCH', `${PATH}/${id}`, { enabled: false });
    await app.request('editor', 'POST', `${PATH}/${id}/test`);
    await app.request('editor', 'DELETE', `${PATH}/${id}`);
    const { body } = await app.request('admin', 'GET', `/audit?target=notification_channel/${id}`);
    const events = body.data.reverse();
    assert.deepEqual(
      events.map(({ action }: { action: string }) => action),
      ['create', 'update', 'test', 'delete'].map((verb) => `notification_channel.${verb}`),
    );
    assert.deepEqual(events[1].details.secrets, ['headers']);
    assert.deepEqual(events[1].details.changes.enabled, { before: true, after: false });
    assert.equal(events[2].details.sent, true);
  });
});
