import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Answer, call, getJson } from './support/http.js';
import { makeDataDir, Program, Server } from './support/server.js';

const SECRETS = /(tfk_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}|[a-z2-9]{6}(-[a-z2-9]{6}){3}|login\?code=[\w-]+)/g;

async function command(dataDir: string, ...args: string[]): Promise<string> {
  const program = new Program(args, { DATA_DIR: dataDir });
  const exit = await program.exited;
  assert.deepEqual(exit, { code: 0, signal: null }, program.output);
  return program.stdout.trim();
}

function post(url: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return call(url, { headers: { 'content-type': 'application/json', ...headers }, body: text });
}

const json = ({ body }: Answer) => JSON.parse(body.toString());

describe('Credentials of the running program', { concurrency: false }, () => {
  const dataDir = makeDataDir();
  let server: Server;
  let password: string;
  let ingestKey: string;
  after(() => server.program.isRunning && server.kill());

  const services = async (key?: string) => (await getJson(`${server.api}/api/v1/services`, key)).status;
  const send = async (headers: Record<string, string>) =>
    (await post(`${server.otlp}/v1/traces`, '{}', headers)).status;

  it('the first start prints a login and an ingest key, and they work', async () => {
    server = await Server.start(dataDir);
    const { stdout } = server.program;
    password = /^ {2}Login {6}admin@localhost \/ (\S{20,}) {3}\(shown once\)$/m.exec(stdout)![1];
    ingestKey = /^ {2}Ingest key (\S+) {3}\(shown once\)$/m.exec(stdout)![1];
    assert.match(
      stdout,
      /^ {2}Sign in {4}http:\/\/127\.0\.0\.1:\d+\/login\?code=\S+ {2}\(works once, for 15 minutes\)$/m,
    );
    assert.match(stdout, /health\/ready\n$/);
    assert.equal(await send({ 'x-api-key': ingestKey }), 200);
    assert.equal(await send({ authorization: `Bearer ${ingestKey}` }), 200);
    assert.equal(await services(ingestKey), 403);
    const login = await post(`${server.api}/api/v1/auth/login`, { email: 'admin@localhost', password });
    assert.equal(login.status, 200);
    assert.equal(login.headers['cache-control'], 'no-store');
    assert.equal(await services(json(login).access_token), 200);
  });

  it('without a key this machine may send, and not ask', async () => {
    assert.equal(await send({}), 200);
    assert.equal(await services(), 401);
    assert.equal(await services('x'), 401);
  });

  it('tokens are renewed, and ended', async () => {
    const auth = `${server.api}/api/v1/auth`;
    const first = json(await post(`${auth}/login`, { email: 'admin@localhost', password }));
    const second = json(await post(`${auth}/refresh`, { refresh_token: first.refresh_token }));
    const me = (await getJson(`${auth}/me`, second.access_token)).body as Record<string, unknown[]>;
    assert.deepEqual(me.permissions, ['ingest', 'read', 'write', 'admin']);
    assert.equal(me.organizations.length, 1);
    assert.equal(me.tenants.length, 1);
    const bearer = { authorization: `Bearer ${second.access_token}` };
    const out = await call(`${auth}/logout`, { headers: bearer });
    assert.equal(out.status, 204, out.body.toString());
    assert.match(String(out.headers['set-cookie']), /^tf_session=; .*Max-Age=0/);
    for (const { access_token } of [first, second]) assert.equal(await services(access_token), 401);
    assert.equal((await post(`${auth}/refresh`, { refresh_token: second.refresh_token })).status, 401);
  });

  it('a login that is no login is told what is wrong, and never its password', async () => {
    for (const body of [
      {},
      [],
      '"x"',
      { email: 'x', password: 'hunter2' },
      { email: 'a@b', password: 7 },
      { email: 'a@b', passwort: 'hunter2' },
    ]) {
      const answer = await post(`${server.api}/api/v1/auth/login`, body);
      assert.equal(answer.status, 400, JSON.stringify(body));
      assert.ok(json(answer).details.length > 0);
      assert.doesNotMatch(answer.body.toString(), /hunter2/);
    }
    const short = await post(
      `${server.api}/api/v1/auth/password`,
      { current_password: password, new_password: 'hunter2' },
      { authorization: `Bearer ${server.key}` },
    );
    assert.equal(short.status, 400);
    assert.doesNotMatch(short.body.toString(), /hunter2/);
  });

  it('the link has been used by the harness and works no second time; its cookie asks, and changes nothing for others', async () => {
    const link = /Sign in\s+(\S+)/.exec(server.program.stdout)![1];
    assert.equal((await call(link, { method: 'GET' })).status, 401);
    const cookie = `tf_session=${server.key}`;
    const asked = await call(`${server.api}/api/v1/services`, { method: 'GET', headers: { cookie } });
    assert.equal(asked.status, 200);
    const password = `${server.api}/api/v1/auth/password`;
    const body = { current_password: 'wrong wrong wrong', new_password: 'right right right' };
    assert.equal((await post(password, body, { cookie, 'sec-fetch-site': 'cross-site' })).status, 403);
    assert.equal((await post(password, body, { cookie, 'sec-fetch-site': 'same-origin' })).status, 400);
    const anonymous = await post(`${server.otlp}/v1/traces`, '{}', { cookie: 'tf_session=x' });
    assert.equal(anonymous.status, 200, 'OTLP does not look at cookies');
  });

  it('commands reach the running server’s database: a key is made, listed, and revoked within a second', async () => {
    const key = await command(
      dataDir,
      'keys',
      'create',
      '--permissions',
      'read',
      '--name',
      'grafana',
      '--expires-in',
      '1h',
    );
    assert.equal(await services(key), 200);
    assert.equal(await send({ 'x-api-key': key }), 403);
    assert.match(
      await command(dataDir, 'keys', 'list'),
      new RegExp(`^${key.slice(0, 16)} .* read +good until .* grafana$`, 'm'),
    );
    await command(dataDir, 'keys', 'revoke', key.slice(0, 16));
    await sleep(1000);
    assert.equal(await services(key), 401);
    assert.match(await command(dataDir, 'keys', 'list'), /revoked/);
    const program = new Program(['keys', 'revoke', 'tfk_nobody'], { DATA_DIR: dataDir });
    assert.equal((await program.exited).code, 1);
    assert.equal(program.stderr, 'There is no key with the id or prefix tfk_nobody.\n');
  });

  it('a password is reset on the command line, which ends the user’s sessions', async () => {
    const printed = await command(dataDir, 'users', 'reset-password', 'Admin@localhost');
    const next = /^admin@localhost \/ (\S{20,}) /.exec(printed)![1];
    await sleep(1000);
    assert.equal(await services(server.key), 401);
    const login = (text: string) =>
      post(`${server.api}/api/v1/auth/login`, { email: 'admin@localhost', password: text });
    assert.equal((await login(password)).status, 401);
    assert.equal((await login(next)).status, 200);
    password = next;
  });

  it('nothing secret is in the log, or in a file as it was printed', async () => {
    assert.equal(server.program.stderr.match(SECRETS), null, server.program.stderr);
    const secret = join(dataDir, 'jwt-secret');
    assert.equal(statSync(secret).mode & 0o777, 0o600);
    await server.stop();
    const files = readdirSync(dataDir, { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    );
    assert.ok(files.length > 20);
    for (const { parentPath, name } of files) {
      const bytes = readFileSync(join(parentPath, name));
      for (const text of [password, ingestKey, ingestKey.slice(17)]) assert.ok(!bytes.includes(text), name);
    }
  });

  it('commands work without a server as well, and the next start prints only another link', async () => {
    const key = await command(dataDir, 'keys', 'create', '--permissions', 'ingest,read');
    server = await Server.start(dataDir);
    assert.doesNotMatch(server.program.stdout, /shown once|Login|Ingest key/);
    assert.equal(await services(key), 200);
    assert.equal(await services(server.key), 200);
  });

  it('last uses are kept over a stop, and commands work after kill -9', async () => {
    assert.equal(await send({ 'x-api-key': ingestKey }), 200);
    await server.stop();
    const line = (text: string) => text.split('\n').find((row) => row.startsWith(ingestKey.slice(0, 16)))!;
    assert.match(line(await command(dataDir, 'keys', 'list')), / 20\d\d-\d\d-\d\dT/);
    assert.ok(!existsSync(join(dataDir, 'postgres.socket')), 'what the server noted is gone');
    server = await Server.start(dataDir);
    await server.kill();
    assert.ok(existsSync(join(dataDir, 'postgres.socket')));
    assert.match(await command(dataDir, 'keys', 'list'), /first ingest key/);
    writeFileSync(join(dataDir, 'postgres.socket'), '/tmp/nobody');
    assert.match(await command(dataDir, 'keys', 'list'), /first ingest key/);
  });
});

describe('Beyond this machine', () => {
  it('the program does not start with a secret it made itself or with anonymous ingest', async () => {
    const program = new Program(['start'], { DATA_DIR: makeDataDir(), HOST: '0.0.0.0' });
    assert.equal((await program.exited).code, 1);
    assert.match(program.stderr, /HOST=0\.0\.0\.0 .*set JWT_SECRET[\s\S]*set INGEST_ANONYMOUS=off/);
    assert.doesNotMatch(program.stderr, /\n\s+at /, 'no stack');
  });
});
