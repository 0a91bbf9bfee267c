import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { PACKAGE_ROOT } from '../src/version.js';
import { ask } from './support/sdk.js';
import { makeDataDir, Server } from './support/server.js';
import { makeTenant } from './support/tenant.js';

const run = promisify(execFile);
const SCRIPT = join(PACKAGE_ROOT, 'test', 'support', 'python-sdk.py');
const PACKAGES = ['opentelemetry-sdk==1.45.2', 'opentelemetry-exporter-otlp==1.45.2'];
const VENV = join(PACKAGE_ROOT, 'node_modules', '.cache', 'telemetryflow-python');

/** Python with the SDK in a folder of its own, made at the first run and whenever the versions change. */
function pythonWithSdk(): string {
  const python = join(VENV, 'bin', 'python');
  const made = join(VENV, createHash('sha256').update(PACKAGES.join()).digest('hex').slice(0, 16));
  if (existsSync(made)) return python;
  rmSync(VENV, { recursive: true, force: true });
  try {
    execFileSync('python3', ['-m', 'venv', VENV], { stdio: 'pipe' });
  } catch (error) {
    throw new Error(
      `This test needs Python with venv and pip. Debian: apt-get install python3-venv python3-pip (${error})`,
    );
  }
  execFileSync(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...PACKAGES], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  writeFileSync(made, '');
  return python;
}

describe('the OpenTelemetry SDK for Python', { concurrency: false }, () => {
  let python: string;
  let server: Server;
  before(async () => {
    python = pythonWithSdk();
    server = await Server.start(makeDataDir());
  });
  after(() => server?.stop());

  for (const transport of ['grpc', 'http']) {
    for (const compression of ['none', 'gzip']) {
      it(`sends all signals over ${transport}, ${compression}, and they come back to the tenant of its key`, async () => {
        const service = `python-${transport}-${compression}`;
        const endpoint = transport === 'grpc' ? server.otlpGrpc : server.otlp;
        const tenant = await makeTenant(server, service);
        const env = { ...process.env, OTEL_EXPORTER_OTLP_HEADERS: `x-api-key=${tenant.ingestKey}` };
        const { stdout } = await run(python, [SCRIPT, transport, endpoint, compression, service], { env });
        const traceId = stdout.trim();
        const api = `${server.api}/api/v1`;
        const found = await ask(`${api}/traces/${traceId}`, tenant.readKey, (body) => body.span_count === 1);
        assert.equal(found.spans[0].service_name, service);
        assert.equal(found.spans[0].attributes['cart.items'], 3);
        const logs = await ask(
          `${api}/logs?service=${service}`,
          tenant.readKey,
          (body) => body.data.length === 1,
        );
        assert.deepEqual([logs.data[0].body, logs.data[0].trace_id], ['stock is low', traceId]);
        assert.equal(logs.data[0].attributes.sku, 'tea');
        const metric = `${api}/metrics/query?metric=orders&agg=last&service=${service}`;
        const series = await ask(metric, tenant.readKey, (body) => body.series.length === 1);
        assert.equal(series.series[0].points.at(-1)[1], 5);
      });
    }
  }

  it('is refused over both when it shows a key that nobody knows', async () => {
    for (const [transport, endpoint] of [
      ['grpc', server.otlpGrpc],
      ['http', server.otlp],
    ]) {
      const env = { ...process.env, OTEL_EXPORTER_OTLP_HEADERS: 'x-api-key=nobody' };
      await assert.rejects(
        run(python, [SCRIPT, transport, endpoint, 'none', 'python-stranger'], { env }),
        /UNAUTHENTICATED|401|FAILURE/,
        transport,
      );
    }
  });
});
