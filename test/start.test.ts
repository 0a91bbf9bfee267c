import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { getJson } from './support/http.js';
import { makeDataDir, Program, Server, StartFailed } from './support/server.js';

it('what was compiled last is what runs, in a few files or in many', () => {
  const dist = makeDataDir();
  const bin = join(dist, 'src', 'bin.cjs');
  const write = (name: string, text: string, second: number) => {
    mkdirSync(dirname(join(dist, name)), { recursive: true });
    writeFileSync(join(dist, name), text);
    utimesSync(join(dist, name), second, second);
  };
  const printed = () => execFileSync(process.execPath, [bin], { encoding: 'utf8' }).trim();
  write('src/bin.cjs', readFileSync(new URL('../src/bin.cjs', import.meta.url), 'utf8'), 1);
  write('src/package.json', '{"type":"module"}', 1);
  write('src/cli.js', "console.log('many')", 1);
  write('.tsbuildinfo', '', 1);
  assert.equal(printed(), 'many', 'there are no few');
  write('program/package.json', '{"type":"module"}', 1);
  write('program/cli.js', "console.log('few')", 2);
  assert.equal(printed(), 'few');
  write('.tsbuildinfo', '', 3);
  assert.equal(printed(), 'many', 'the few are older');
  rmSync(join(dist, '.tsbuildinfo'));
  assert.equal(printed(), 'few', 'an installed package was not compiled here');
});

describe('start and stop', { concurrency: false }, () => {
  const dataDir = makeDataDir();
  let running: Server | undefined;
  after(() => running?.kill());

  async function failedStart(env: Record<string, string>, directory = dataDir): Promise<StartFailed> {
    try {
      const server = await Server.start(directory, env);
      await server.kill();
    } catch (error) {
      if (error instanceof StartFailed) return error;
      throw error;
    }
    assert.fail('it started');
  }

  it('prints where everything listens, and that is true', async () => {
    running = await Server.start(dataDir);
    console.log(`# first start: ${running.startedInMs.toFixed()} ms`);
    assert.match(running.program.stdout, /TelemetryFlow \d+\.\d+\.\d+ is running/);
    assert.equal((await getJson(`${running.api}/health/ready`)).status, 200);
    assert.equal((await getJson(`${running.api}/api/v1/services`, running.key)).status, 200);
    assert.equal((await getJson(`${running.otlp}/v1/traces`)).status, 405);
  });

  it('a second process on the same DATA_DIR says who has it, and harms nothing', async () => {
    const { exit, output } = await failedStart({});
    assert.equal(exit.code, 1);
    assert.match(
      output,
      new RegExp(`${dataDir} is in use by process ${running!.pid}\\. Stop that one, or set another`),
    );
    assert.doesNotMatch(output, /\n\s+at /, 'no stack');
    assert.equal((await getJson(`${running!.api}/health/ready`)).status, 200);
  });

  it('SIGTERM ends it with 0, quickly when idle, and twice is once', async () => {
    const startedAt = performance.now();
    running!.program.child.kill('SIGTERM');
    await running!.stop();
    const tookMs = performance.now() - startedAt;
    assert.ok(tookMs < 5000, `${tookMs.toFixed()} ms`);
  });

  it('the second start is quick', async () => {
    running = await Server.start(dataDir);
    console.log(`# second start: ${running.startedInMs.toFixed()} ms`);
    assert.ok(running.startedInMs < 10_000, `${running.startedInMs.toFixed()} ms`);
    await running.stop();
  });

  it('SIGINT ends it with 0 too', async () => {
    running = await Server.start(dataDir);
    running.program.child.kill('SIGINT');
    assert.deepEqual(await running.program.exited, { code: 0, signal: null });
  });

  it('a port in use is named with the setting to change, and the data folder is free again', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as { port: number };
    for (const setting of ['PORT', 'OTLP_HTTP_PORT', 'OTLP_GRPC_PORT']) {
      const { exit, output } = await failedStart({ [setting]: String(port) });
      assert.equal(exit.code, 1);
      assert.match(
        output,
        new RegExp(`127.0.0.1:${port} is in use by another program. Choose another with ${setting}`),
      );
      assert.doesNotMatch(output, /\n\s+at /, 'no stack');
    }
    await new Promise((resolve) => other.close(resolve));
    running = await Server.start(dataDir);
    await running.stop();
  });

  it('bad settings are all named, with what was given and what is allowed', async () => {
    const { exit, output } = await failedStart({
      PORT: '70000',
      MAX_BODY_BYTES: 'lots',
      INGEST_ANONYMOUS: 'yes',
    });
    assert.equal(exit.code, 1);
    assert.match(output, /PORT=70000: expected a whole number from 0 to 65535/);
    assert.match(output, /MAX_BODY_BYTES=lots: expected a size such as/);
    assert.match(output, /INGEST_ANONYMOUS=yes: expected .*off.*loopback/);
    assert.doesNotMatch(output, /\n\s+at /, 'no stack');
  });

  it('an unknown FAILPOINT is a bad setting, not a silent one', async () => {
    const { output } = await failedStart({ FAILPOINT: 'No Such Step' });
    assert.match(output, /FAILPOINT=No Such Step: expected/);
  });

  it('a DATA_DIR that cannot be used is named', async () => {
    const file = join(makeDataDir(), 'a-file');
    writeFileSync(file, '');
    const { exit, output } = await failedStart({}, file);
    assert.equal(exit.code, 1);
    assert.match(output, new RegExp(`DATA_DIR|${file}`));
    assert.doesNotMatch(output, /\n\s+at /, 'no stack');
  });

  it('`config` prints every setting with its value and meaning, and hides secrets', async () => {
    const program = new Program(['config'], { PORT: '1234', CLICKHOUSE_PASSWORD: 'hush' });
    assert.deepEqual(await program.exited, { code: 0, signal: null });
    const lines = program.stdout.trim().split('\n');
    for (const name of [
      'HOST',
      'PORT',
      'OTLP_HTTP_PORT',
      'DATA_DIR',
      'MEMORY_LIMIT',
      'MAX_BODY_BYTES',
      'RETENTION_DAYS',
    ]) {
      assert.ok(
        lines.some((line) => line.startsWith(`${name} `)),
        name,
      );
    }
    assert.match(program.stdout, /^PORT\s+1234\s/m);
    assert.doesNotMatch(program.stdout, /hush/);
    for (const line of lines) assert.match(line, /^[A-Z0-9_]+\s{2,}\S.*\s{2,}\S/);
  });

  it('`version` and `help` answer, another word is refused with the usage', async () => {
    const version = new Program(['version'], {});
    assert.deepEqual(await version.exited, { code: 0, signal: null });
    assert.match(version.stdout, /^\d+\.\d+\.\d+\n$/);
    const wrong = new Program(['strat'], {});
    assert.equal((await wrong.exited).code, 2);
    assert.match(wrong.stderr, /Unknown command: strat[\s\S]*Usage: telemetryflow/);
  });
});
