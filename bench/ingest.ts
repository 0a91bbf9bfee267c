import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { PACKAGE_ROOT } from '../src/version.js';
import { prepareLoad, type ServerUnderTest, startNaive, startServer } from './children.js';
import { freshness } from './freshness.js';
import type { LoadOrder, LoadReport } from './load-client.js';
import { cpuSeconds, quantile, residentBytes, sleep, untilIdle } from './process-stats.js';

/*
 * Ingest, measured from outside on the real program: a client process sends prepared bodies over loopback; CPU seconds
 * and memory are the server process's own, from /proc. `npm run bench:ingest [-- --bodies 1000 --overload-minutes 10]`.
 */
const { values: options } = parseArgs({
  options: {
    bodies: { type: 'string', default: '1000' },
    'half-seconds': { type: 'string', default: '20' },
    'overload-minutes': { type: 'string', default: '1' },
    only: { type: 'string', default: 'idle,max,half,naive,engine,overload' },
    out: { type: 'string', default: join(PACKAGE_ROOT, 'bench', 'results', 'ingest.md') },
  },
});
const BODIES = Number(options.bodies);
const ITEMS = 1000;
const SIGNALS = ['traces', 'logs', 'metrics'] as const;
type Signal = (typeof SIGNALS)[number];
const wanted = new Set(options.only.split(','));
const lines: string[] = [];

function say(line: string): void {
  console.log(line);
  lines.push(line);
}
const progress = (text: string) => process.stderr.write(`... ${text}\n`);
const thousand = (value: number) => `${(value / 1000).toFixed(0)} k`;
const mb = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;

async function visible(server: ServerUnderTest): Promise<number> {
  if (server.api === server.otlp) return Number(await (await fetch(`${server.api}/count`)).text());
  const headers = { authorization: `Bearer ${server.key}` };
  const answer = await fetch(`${server.api}/api/v1/services?from=now-3h&to=${Date.now() + 3_600_000}`, {
    headers,
  });
  const { data } = (await answer.json()) as { data: Record<string, number | string>[] };
  return data.reduce(
    (sum, row) => sum + Number(row.span_count) + Number(row.log_count) + Number(row.metric_count),
    0,
  );
}

interface MaxResult {
  report: LoadReport;
  itemsPerSecond: number;
  perCpuSecond: number;
  perCpuSecondSettled: number;
  rss: number;
}

function order(server: ServerUnderTest, signal: Signal, gzip: boolean, bodies: number): LoadOrder {
  const seed = gzip ? 500_000 : 1;
  const url = `${server.otlp}/v1/${signal}`;
  return { url, key: server.key, signal, bodies, itemsPerBody: ITEMS, gzip, connections: 16, seed };
}

/** Requests until hot functions are compiled: after 60 some of them were not, for a sixth of the CPU time of what came then. */
const WARM_BODIES = 400;

/** A server that has run for a while, of either pipeline. */
async function warmUp(server: ServerUnderTest): Promise<void> {
  for (const signal of SIGNALS) {
    progress(`${signal}: warming up`);
    const load = await prepareLoad({ ...order(server, signal, false, WARM_BODIES), seed: 300_000 });
    await load.go();
  }
}

async function atMaximum(
  server: ServerUnderTest,
  signal: Signal,
  gzip: boolean,
  bodies: number,
): Promise<MaxResult> {
  progress(`${signal}${gzip ? ' gzip' : ''}: preparing ${bodies} bodies of ${ITEMS}`);
  const load = await prepareLoad(order(server, signal, gzip, bodies));
  await untilIdle(server.pid);
  const before = await visible(server);
  const cpuBefore = cpuSeconds(server.pid);
  const startedAt = performance.now();
  const report = await load.go();
  while ((await visible(server)) < before + report.items) await sleep(100);
  const seconds = (performance.now() - startedAt) / 1000;
  const cpuVisible = cpuSeconds(server.pid) - cpuBefore;
  const rss = residentBytes(server.pid);
  const cpuSettled = (await untilIdle(server.pid)) - cpuBefore;
  return {
    report,
    itemsPerSecond: report.items / seconds,
    perCpuSecond: report.items / cpuVisible,
    perCpuSecondSettled: report.items / cpuSettled,
    rss,
  };
}

const HEAD =
  '| signal | body | items/s | items per CPU-s, visible | items per CPU-s, merges settled | ack p50 ms | ack p99 ms | resident |\n|---|---|---|---|---|---|---|---|';
function row(signal: string, body: string, { report, ...result }: MaxResult): string {
  const cells = [signal, body, thousand(result.itemsPerSecond), thousand(result.perCpuSecond)];
  cells.push(
    thousand(result.perCpuSecondSettled),
    report.ackP50Ms.toFixed(1),
    report.ackP99Ms.toFixed(1),
    mb(result.rss),
  );
  const odd = Object.entries(report.statuses).filter(([status]) => status !== '200');
  return `| ${cells.join(' | ')} |${odd.length > 0 ? ` ${JSON.stringify(odd)}` : ''}`;
}

async function idle(): Promise<void> {
  const server = await startServer();
  await untilIdle(server.pid);
  await sleep(10_000);
  const before = cpuSeconds(server.pid);
  await sleep(30_000);
  const cpu = ((cpuSeconds(server.pid) - before) / 30) * 100;
  say(
    `\n## Idle\n\nNothing sent, 30 s: resident ${mb(residentBytes(server.pid))}, ${cpu.toFixed(2)} % of a core.`,
  );
  await server.stop();
  rmSync(server.dataDir, { recursive: true, force: true });
}

/** Bytes per item of what is on disk, from the engine's own list of active parts, read when the server is down. */
function diskUsage(dataDir: string): string {
  const script = fileURLToPath(new URL('./disk-usage.js', import.meta.url));
  return execFileSync(process.execPath, [script, dataDir], { encoding: 'utf8' });
}

async function maximum(): Promise<Record<Signal, number>> {
  const rates = {} as Record<Signal, number>;
  const server = await startServer();
  await warmUp(server);
  say(
    `\n## Whole server at its highest rate\n\n16 connections, bodies of ${ITEMS} items, all different.\n\n${HEAD}`,
  );
  for (const signal of SIGNALS) {
    const plain = await atMaximum(server, signal, false, BODIES);
    rates[signal] = plain.itemsPerSecond;
    say(row(signal, 'plain', plain));
    say(row(signal, 'gzip', await atMaximum(server, signal, true, Math.ceil(BODIES / 2))));
  }
  await server.stop();
  say(`\nOn disk after merging:\n\n${diskUsage(server.dataDir)}`);
  rmSync(server.dataDir, { recursive: true, force: true });
  return rates;
}

async function naive(): Promise<void> {
  const server = await startNaive();
  await warmUp(server);
  say(
    `\n## Naive pipeline, same bodies, tables and engine\n\nprotobufjs, an object and a JSON line per row, JSONEachRow from a file; answered before anything is safe.\n\n${HEAD}`,
  );
  for (const signal of SIGNALS) {
    say(row(signal, 'plain', await atMaximum(server, signal, false, Math.ceil(BODIES / 4))));
    say(row(signal, 'gzip', await atMaximum(server, signal, true, Math.ceil(BODIES / 8))));
  }
  await server.stop();
  rmSync(server.dataDir, { recursive: true, force: true });
}

/** p99 of the event loop's lag, from the program's own metrics; reading resets it. */
async function eventLoopLagMs(server: ServerUnderTest): Promise<number> {
  const text = await (await fetch(`${server.api}/metrics`)).text();
  return Number(/^telemetryflow_event_loop_lag_seconds\{quantile="0.99"\} (\S+)/m.exec(text)?.[1]) * 1000;
}

async function halfRate(rates: Partial<Record<Signal, number>>): Promise<void> {
  const server = await startServer();
  await warmUp(server);
  const seconds = Number(options['half-seconds']);
  say(`\n## At half of the highest rate, ${seconds} s\n`);
  say(
    '| signal | items/s | ack p50 ms | ack p99 ms | freshness p50 ms | freshness p99 ms | event-loop lag p99 ms | resident |',
  );
  say('|---|---|---|---|---|---|---|---|');
  for (const signal of SIGNALS) {
    const itemsPerSecond = Math.round((rates[signal] ?? 200_000) / 2);
    progress(`${signal} at ${thousand(itemsPerSecond)}/s`);
    const load = await prepareLoad({
      url: `${server.otlp}/v1/${signal}`,
      key: server.key,
      signal,
      bodies: 100,
      itemsPerBody: ITEMS,
      gzip: false,
      connections: 64,
      itemsPerSecond,
      seconds,
      seed: 900_000,
    });
    await untilIdle(server.pid);
    await eventLoopLagMs(server);
    const [report, fresh] = await Promise.all([load.go(), freshness(server, signal, seconds)]);
    const cells = [signal, thousand(itemsPerSecond), report.ackP50Ms.toFixed(1), report.ackP99Ms.toFixed(1)];
    cells.push(quantile(fresh, 0.5).toFixed(0), quantile(fresh, 0.99).toFixed(0));
    cells.push((await eventLoopLagMs(server)).toFixed(1), mb(residentBytes(server.pid)));
    say(`| ${cells.join(' | ')} | ${fresh.length} probes`);
  }
  await server.stop();
  rmSync(server.dataDir, { recursive: true, force: true });
}

async function overload(): Promise<void> {
  const minutes = Number(options['overload-minutes']);
  const server = await startServer({ INGEST_BACKLOG_BYTES: '256MiB', MEMORY_LIMIT: '4GiB' });
  const load = await prepareLoad({
    url: `${server.otlp}/v1/traces`,
    key: server.key,
    signal: 'traces',
    bodies: 100,
    itemsPerBody: ITEMS,
    gzip: false,
    connections: 256,
    seconds: minutes * 60,
    seed: 700_000,
  });
  say(
    `\n## Overload, ${minutes} min\n\n256 connections without pause, MEMORY_LIMIT 4 GiB, INGEST_BACKLOG_BYTES 256 MiB.\n`,
  );
  const samples: number[] = [];
  const watch = setInterval(() => samples.push(residentBytes(server.pid)), 1000);
  const report = await load.go();
  clearInterval(watch);
  const tenths = Array.from(
    { length: 10 },
    (_, i) => samples[Math.floor(((i + 1) * samples.length) / 10) - 1],
  );
  say(
    `Answers: ${JSON.stringify(report.statuses)}; refusals without Retry-After: ${report.retryAfterMissing}.`,
  );
  say(
    `Accepted ${thousand(report.items / report.seconds)} items/s. Resident, in tenths of the time: ${tenths.map(mb).join(', ')}.`,
  );
  say(`Highest: ${mb(Math.max(...samples))}.`);
  await server.stop();
  rmSync(server.dataDir, { recursive: true, force: true });
}

say(
  `# Ingest\n\n\`npm run bench:ingest\`, ${new Date().toISOString().slice(0, 10)}, ${cpus().length} cores (${cpus()[0].model}), Node ${process.version}.`,
);
if (wanted.has('idle')) await idle();
const rates = wanted.has('max') ? await maximum() : {};
if (wanted.has('naive')) await naive();
if (wanted.has('engine')) {
  const script = fileURLToPath(new URL('./engine-limit.js', import.meta.url));
  say(execFileSync(process.execPath, [script], { encoding: 'utf8' }));
}
if (wanted.has('half')) await halfRate(rates);
if (wanted.has('overload')) await overload();
mkdirSync(join(PACKAGE_ROOT, 'bench', 'results'), { recursive: true });
writeFileSync(options.out, `${lines.join('\n')}\n`);
