import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describeConfig, loadConfig } from './config.js';

describe('Settings', () => {
  it('have the defaults of the contract', () => {
    const config = loadConfig({});
    assert.equal(config.HOST, '127.0.0.1');
    assert.equal(config.PORT, 3000);
    assert.equal(config.OTLP_HTTP_PORT, 4318);
    assert.equal(config.MAX_BODY_BYTES, 16 * 1024 * 1024);
    assert.deepEqual([...config.TF_ROLES], ['api', 'worker', 'scheduler']);
    assert.equal(config.CLICKHOUSE_URL, undefined);
  });

  it('are read once and frozen', () => {
    assert.ok(Object.isFrozen(loadConfig({})));
  });

  it('take where the program is reached as what paths are added to', () => {
    const of = (PUBLIC_URL: string) => loadConfig({ PUBLIC_URL }).PUBLIC_URL;
    assert.equal(loadConfig({}).PUBLIC_URL, undefined);
    assert.equal(of('https://tf.example'), 'https://tf.example');
    assert.equal(of('https://tf.example:8443/'), 'https://tf.example:8443');
    assert.equal(of('http://tf.example/watch/'), 'http://tf.example/watch');
    for (const wrong of [
      'tf.example',
      'ftp://tf.example',
      'https://me@tf.example',
      'https://tf.example/?a=b',
      'javascript:alert(1)',
    ])
      assert.throws(() => of(wrong), /PUBLIC_URL=.*: expected an address such as https:/, wrong);
  });

  it('take sizes with units', () => {
    assert.equal(loadConfig({ MEMORY_LIMIT: '1.5G' }).MEMORY_LIMIT, 1.5 * 1024 ** 3);
    assert.equal(loadConfig({ MAX_BODY_BYTES: '4096' }).MAX_BODY_BYTES, 4096);
  });

  it('name every bad value, what was given and what is allowed', () => {
    assert.throws(
      () => loadConfig({ PORT: '70000', TF_ROLES: 'api,cook', CLICKHOUSE_URL: 'ftp://x' }),
      (error: Error) =>
        /PORT=70000: expected a whole number from 0 to 65535/.test(error.message) &&
        /TF_ROLES=api,cook: expected a comma-separated list of api, worker, scheduler/.test(error.message) &&
        /CLICKHOUSE_URL=ftp:\/\/x: expected a URL starting with http:\/\/ or https:\/\//.test(error.message),
    );
  });

  it('name a cluster of servers only where there is a server', () => {
    const given = { CLICKHOUSE_URL: 'http://c', CLICKHOUSE_CLUSTER: 'main-1' };
    assert.equal(loadConfig(given).CLICKHOUSE_CLUSTER, 'main-1');
    assert.throws(
      () => loadConfig({ CLICKHOUSE_CLUSTER: 'main' }),
      /CLICKHOUSE_CLUSTER=main.*set CLICKHOUSE_URL/,
    );
    assert.throws(() => loadConfig({ ...given, CLICKHOUSE_CLUSTER: "a'b" }), /expected a name of letters/);
  });

  it('name what processes that share the work have to share', () => {
    const shared = { CLICKHOUSE_URL: 'http://c', DATABASE_URL: 'postgres://p/d', REDIS_URL: 'redis://r' };
    for (const TF_ROLES of ['api', 'worker', 'scheduler', 'api,worker']) {
      assert.equal(loadConfig({ ...shared, TF_ROLES }).REDIS_URL, 'redis://r');
      for (const name of Object.keys(shared))
        assert.throws(
          () => loadConfig({ ...shared, TF_ROLES, [name]: '' }),
          (error: Error) =>
            error.message.includes(`TF_ROLES=${TF_ROLES} leaves work to other processes: set ${name},`),
        );
    }
    assert.equal(loadConfig({ TF_ROLES: 'scheduler,worker,api' }).REDIS_URL, undefined);
  });

  it('never show a secret', () => {
    const env = { DATABASE_URL: 'mysql://me:hunter2@db/x', CLICKHOUSE_PASSWORD: 'hunter2' };
    assert.doesNotMatch(describeConfig(env), /hunter2/);
    assert.throws(
      () => loadConfig(env),
      (error: Error) => !error.message.includes('hunter2'),
    );
  });

  it('that others could use are refused beyond this machine, saying exactly what to set', () => {
    const JWT_SECRET = 'x'.repeat(32);
    const SECRET_KEY = 'y'.repeat(32);
    for (const HOST of ['127.0.0.1', '127.9.9.9', '::1', 'localhost'])
      assert.equal(loadConfig({ HOST }).HOST, HOST);
    for (const HOST of ['0.0.0.0', '::', '10.0.0.1', 'telemetry.example', '127.0.0.1.example']) {
      assert.throws(
        () => loadConfig({ HOST }),
        (error: Error) =>
          error.message.includes(`HOST=${HOST} is reached from other machines: set JWT_SECRET`) &&
          error.message.includes(`HOST=${HOST} is reached from other machines: set SECRET_KEY`) &&
          error.message.includes('set INGEST_ANONYMOUS=off'),
      );
      const secrets = { JWT_SECRET, SECRET_KEY };
      assert.throws(() => loadConfig({ HOST, ...secrets }), /INGEST_ANONYMOUS=off, or ALLOW_INSECURE=1/);
      assert.throws(() => loadConfig({ HOST, SECRET_KEY, INGEST_ANONYMOUS: 'off' }), /JWT_SECRET/);
      assert.throws(() => loadConfig({ HOST, JWT_SECRET, INGEST_ANONYMOUS: 'off' }), /SECRET_KEY/);
      assert.equal(loadConfig({ HOST, ...secrets, INGEST_ANONYMOUS: 'off' }).HOST, HOST);
      assert.equal(loadConfig({ HOST, ALLOW_INSECURE: '1' }).HOST, HOST);
    }
    assert.throws(
      () => loadConfig({ JWT_SECRET: 'hunter2' }),
      /JWT_SECRET=\(hidden\): expected 32 characters/,
    );
  });
});
