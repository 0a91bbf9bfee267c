import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PACKAGE_ROOT } from '../src/version.js';
import { prepareLoad, type ServerUnderTest, startServer } from './children.js';
import type { LoadOrder } from './load-client.js';
import { cpuSeconds, sleep } from './process-stats.js';

/*
 * OTLP over gRPC beside OTLP over HTTP, on the real program, the same bodies in turn: items a second and CPU seconds of the
 * server process, until the last acknowledgement. The worker is off, so that only the way in is measured and no batch
 * that happens to be made costs one side more. `npm run bench:grpc [-- --rounds 4]`.
 */
const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '4' },
    classes: { type: 'string', default: 'small plain,small gzip,large plain,large gzip' },
    signals: { type: 'string', default: 'traces,logs,metrics' },
    out: { type: 'string', default: join(PACKAGE_ROOT, 'bench', 'results', 'grpc.md') },
  },
});
const ROUNDS = Number(options.rounds);
const SIGNALS = options.signals.split(',') as LoadOrder['signal'][];
const AT_A_TIME = 16;
const SIZES = { small: { itemsPerBody: 10, bodies: 6000 }, large: { itemsPerBody: 1000, bodies: 250 } };
const CLASSES = options.classes.split(',').map((name) => {
  const [size, packing] = name.split(' ');
  return { name, ...SIZES[size as keyof typeof SIZES], gzip: packing === 'gzip' };
});
const WAYS = [
  { name: 'HTTP', transport: 'http', sessions: undefined },
  { name: 'gRPC', transport: 'grpc', sessions: undefined },
  { name: 'gRPC, one connection', transport: 'grpc', sessions: 1 },
] as const;
type Way = (typeof WAYS)[number];

/** Items per second, and per CPU second of the server. */
interface Rates {
  perSecond: number;
  perCpuSecond: number;
}

const lines: string[] = [];
function say(line: string): void {
  console.log(line);
  lines.push(line);
}

let seed = 1;
async function measure(
  server: ServerUnderTest,
  way: Way,
  order: Pick<LoadOrder, 'signal' | 'bodies' | 'itemsPerBody' | 'gzip'>,
): Promise<Rates> {
  const url = way.transport === 'grpc' ? `http://${server.otlpGrpc}` : `${server.otlp}/v1/${order.signal}`;
  seed += 100_000;
  const { transport, sessions } = way;
  const { key } = server;
  const load = await prepareLoad({ ...order, url, key, transport, sessions, connections: AT_A_TIME, seed });
  await sleep(300);
  const before = cpuSeconds(server.pid);
  const report = await load.go();
  // The counter of a process moves in steps of 10 ms, and what is freed is freed a moment later.
  await sleep(200);
  const cpu = cpuSeconds(server.pid) - before;
  const accepted = report.statuses[transport === 'grpc' ? '0' : '200'];
  if (accepted !== order.bodies)
    throw new Error(`Not all was accepted over ${way.name}: ${JSON.stringify(report.statuses)}`);
  return { perSecond: report.items / report.seconds, perCpuSecond: report.items / cpu };
}

const thousand = (value: number) => `${(value / 1000).toFixed(0)} k`;
/** What else a machine does only ever slows a round down, so the best one is what the program can do. */
const better = (a: Rates, b: Rates): Rates => ({
  perSecond: Math.max(a.perSecond, b.perSecond),
  perCpuSecond: Math.max(a.perCpuSecond, b.perCpuSecond),
});

say(
  `# OTLP over gRPC and over HTTP\n\n\`npm run bench:grpc\`, ${new Date().toISOString().slice(0, 10)}, ${cpus().length} cores (${cpus()[0].model}), Node ${process.version}.

The real server process without its worker; ${AT_A_TIME} requests at a time, for HTTP and gRPC on as many connections, for the last
two columns on one. Small bodies have 10 items, large ones 1,000. The best of ${ROUNDS} rounds, in turn. Items per second and per CPU second of the
server until acknowledged; in brackets how many times as much of either gRPC takes (1.30 is 30 % slower).\n`,
);
say(
  '| signal | body | HTTP items/s | HTTP items/CPU-s | gRPC items/s | gRPC items/CPU-s | one connection items/s | one connection items/CPU-s |\n|---|---|---|---|---|---|---|---|',
);
const server = await startServer({ INGEST_BACKLOG_BYTES: '64GiB' }, true);
for (const signal of SIGNALS) {
  for (const { name, ...shape } of CLASSES) {
    const best = new Map<Way, Rates>();
    // The first round is for the compiler and counts for nobody.
    for (let round = 0; round <= ROUNDS; round++) {
      for (const way of WAYS) {
        const rates = await measure(server, way, { signal, ...shape });
        if (round > 0) best.set(way, better(rates, best.get(way) ?? rates));
      }
    }
    const [http, ...others] = WAYS.map((way) => best.get(way)!);
    const cells = [signal, name, thousand(http.perSecond), thousand(http.perCpuSecond)];
    for (const { perSecond, perCpuSecond } of others) {
      cells.push(
        `${thousand(perSecond)} (${(http.perSecond / perSecond).toFixed(2)})`,
        `${thousand(perCpuSecond)} (${(http.perCpuSecond / perCpuSecond).toFixed(2)})`,
      );
    }
    say(`| ${cells.join(' | ')} |`);
  }
}
await server.stop();
rmSync(server.dataDir, { recursive: true, force: true });
mkdirSync(join(PACKAGE_ROOT, 'bench', 'results'), { recursive: true });
writeFileSync(options.out, `${lines.join('\n')}\n`);
