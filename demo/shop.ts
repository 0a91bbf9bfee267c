import { type DemoOptions, parseOptions, USAGE } from './options.js';
import { Progress } from './progress.js';
import { type DemoResult, runDemo } from './run.js';

/** Says at once when there is nobody to send to. */
async function findServer({ endpoint, key }: DemoOptions): Promise<string | undefined> {
  try {
    const response = await fetch(`${endpoint}/v1/traces`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(key && { authorization: `Bearer ${key}` }) },
      body: '{}',
      signal: AbortSignal.timeout(5000),
    });
    if (response.ok) return undefined;
    return `${endpoint} answers ${response.status}: ${(await response.text()).slice(0, 300)}`;
  } catch (error) {
    const { message, cause } = error as Error & { cause?: Error & { code?: string } };
    return (
      `No OTLP server at ${endpoint} (${cause?.code ?? message}).\n` +
      'Start TelemetryFlow in another terminal with `npm start`, then run this again; or give --endpoint <url>.'
    );
  }
}

function whatToOpen(api: string, { slowest, failed }: DemoResult): string {
  const open: [string, string][] = [
    ['services', '/api/v1/services'],
    ['slowest traces', '/api/v1/traces?order=slowest&limit=5'],
    ['failed requests', '/api/v1/traces?status=error&limit=5'],
    ['warnings and errors', '/api/v1/logs?min_severity=warn&limit=20'],
    ['metric names', '/api/v1/metrics?prefix=shop.'],
    [
      'latency by route',
      '/api/v1/metrics/query?metric=http.server.request.duration&agg=p95&step=10s&group_by=http.route&from=now-15m',
    ],
  ];
  if (slowest)
    open.push([`slowest request (${Math.round(slowest.ms)} ms)`, `/api/v1/traces/${slowest.traceId}`]);
  if (failed) {
    open.push([`failed request (${failed.message})`, `/api/v1/traces/${failed.traceId}`]);
    open.push(['its logs', `/api/v1/logs?trace_id=${failed.traceId}`]);
  }
  return open.map(([what, path]) => `  ${what}\n    ${api}${path}`).join('\n');
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2), process.env);
  if (!options) {
    console.log(USAGE);
    return 0;
  }
  const problem = await findServer(options);
  if (problem) {
    console.error(problem);
    return 1;
  }
  const until = Number.isFinite(options.durationMs) ? `for ${options.durationMs / 1000} s` : 'until Ctrl+C';
  console.log(
    `Demo shop: 8 services, ${options.rate} requests/s ${until}, ${options.json ? 'OTLP/JSON' : 'OTLP protobuf'} ` +
      `to ${options.endpoint}, seed ${options.seed}`,
  );
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      stop.abort();
      process.once(signal, () => process.exit(130));
    });
  }
  const progress = new Progress(process.stdout);
  const result = await runDemo(options, stop.signal, (totals) => progress.show(totals));
  progress.finish(result);
  console.log(
    `What to open next, signed in by the link that the server printed, or with a key that may read:\n${whatToOpen(options.api, result)}`,
  );
  return result.exportErrors > 0 ? 1 : 0;
}

main().then(
  (code) => process.exit(code),
  (error: Error) => {
    console.error(`${error.message}\n\n${USAGE}`);
    process.exit(2);
  },
);
