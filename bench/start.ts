import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { PACKAGE_ROOT } from '../src/version.js';
import { cpuSeconds, cpuSecondsWithChildren, quantile, residentBytes, sleep } from './process-stats.js';

/**
 * What a start costs until the program says that it runs: on a new data folder and on one that is there, in the few files that users start and
 * in those that the compiler wrote; then what it takes at rest. `npm run bench:start [rounds]`
 */

const ROUNDS = Number(process.argv[2] ?? 3);
const REST_MS = 20_000;
const FEW_FILES = join(PACKAGE_ROOT, 'dist', 'program', 'cli.js');
const SINGLE_FILES = join(PACKAGE_ROOT, 'dist', 'src', 'cli.js');

interface Start {
  cpu: number;
  seconds: number;
}

async function start(cli: string, dataDir: string, atRest?: (pid: number) => Promise<void>): Promise<Start> {
  const env = {
    ...process.env,
    ...{ DATA_DIR: dataDir, PORT: '0', OTLP_HTTP_PORT: '0', OTLP_GRPC_PORT: '0' },
    ...{ LOG_LEVEL: 'warn', UV_THREADPOOL_SIZE: '16' },
  };
  const startedAt = performance.now();
  const child = spawn(process.execPath, [cli, 'start'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  let text = '';
  for await (const chunk of child.stdout) {
    text += chunk;
    if (text.includes('/health/ready')) break;
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const cpu = cpuSecondsWithChildren(child.pid!);
  await atRest?.(child.pid!);
  child.kill('SIGTERM');
  await exited;
  return { cpu, seconds };
}

const median = (starts: Start[], of: (start: Start) => number) => quantile(starts.map(of), 0.5).toFixed(2);
const row = (name: string, starts: Start[]) =>
  `| ${name} | ${median(starts, ({ cpu }) => cpu)} | ${median(starts, ({ seconds }) => seconds)} |`;

/** What making an empty PostgreSQL directory takes, a part of a first start. */
function makeDirectory(archive: string): Start {
  const directory = mkdtempSync(join(tmpdir(), 'telemetryflow-bench-'));
  const script = join(PACKAGE_ROOT, 'dist', 'program', 'pglite-init.js');
  const before = cpuSecondsWithChildren(process.pid);
  const startedAt = performance.now();
  spawnSync(process.execPath, [script, directory, archive], { stdio: 'inherit' });
  const made = {
    cpu: cpuSecondsWithChildren(process.pid) - before,
    seconds: (performance.now() - startedAt) / 1000,
  };
  rmSync(directory, { recursive: true });
  return made;
}

const lines: string[] = [];
for (const [name, cli] of [
  ['single files', SINGLE_FILES],
  ['few files', FEW_FILES],
]) {
  const [first, later]: [Start[], Start[]] = [[], []];
  for (let round = 0; round < ROUNDS; round++) {
    const dataDir = mkdtempSync(join(tmpdir(), 'telemetryflow-bench-'));
    first.push(await start(cli, dataDir));
    later.push(await start(cli, dataDir));
    rmSync(dataDir, { recursive: true });
  }
  lines.push(row(`first start, ${name}`, first), row(`later start, ${name}`, later));
}
const rounds = Array.from({ length: ROUNDS });
const archive = join(PACKAGE_ROOT, 'dist', 'postgres.gz');
lines.push(
  row(
    'of a first start: PostgreSQL directory unpacked',
    rounds.map(() => makeDirectory(archive)),
  ),
);
lines.push(
  row(
    'the same by initdb',
    rounds.map(() => makeDirectory(`${archive}.none`)),
  ),
);

const dataDir = mkdtempSync(join(tmpdir(), 'telemetryflow-bench-'));
let rest = '';
await start(FEW_FILES, dataDir, async (pid) => {
  await sleep(REST_MS);
  const before = cpuSeconds(pid);
  await sleep(REST_MS);
  const share = ((cpuSeconds(pid) - before) / REST_MS) * 1e5;
  rest = `At rest, ${REST_MS / 1000} s after a first start: ${(residentBytes(pid) / 1e6).toFixed()} MB resident, ${share.toFixed(2)} % of a core (canary on).`;
});
rmSync(dataDir, { recursive: true });

const text = `# The start

\`npm run bench:start\` on ${cpus().length} cores, ${cpus()[0].model}; Node ${process.version}; medians of ${ROUNDS} rounds, until the program says that it runs

|  | CPU seconds, children included | seconds |
| --- | --- | --- |
${lines.join('\n')}

${rest}
`;
console.log(text);
writeFileSync(join(PACKAGE_ROOT, 'bench/results/start.md'), text);
