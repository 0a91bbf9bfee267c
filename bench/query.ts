import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { SIGNALS } from '../src/signal.js';
import { PACKAGE_ROOT } from '../src/version.js';
import { prepareLoad } from './children.js';
import { cpuSeconds, quantile, sleep } from './process-stats.js';
import { DAYS, type QueryData, queryData } from './query-data.js';
import { type QueryProgram, startQueryProgram } from './query-program.js';
import { type Question, questionsAbout, RAW } from './query-questions.js';

/*
 * Questions over the HTTP API on a month of data: `npm run bench:query [-- --scale 0.1 --data <dir> --growth]`. Scale 1 is 100 million
 * metric points, 50 million log records and 20 million spans; --data keeps the folder, and uses it again; --growth asks at a tenth and a
 * third of the scale, too. --no-ingest leaves the mix under load out, --only <text> asks the questions whose names hold it.
 */
const { values: options } = parseArgs({
  allowNegative: true,
  options: {
    scale: { type: 'string', default: '1' },
    data: { type: 'string' },
    runs: { type: 'string', default: '30' },
    growth: { type: 'boolean', default: false },
    ingest: { type: 'boolean', default: true },
    'mix-seconds': { type: 'string', default: '45' },
    only: { type: 'string', default: '' },
    out: { type: 'string', default: join(PACKAGE_ROOT, 'bench', 'results', 'query.md') },
  },
});
const SCALE = Number(options.scale);
const RUNS = Number(options.runs);
const MIX_SECONDS = Number(options['mix-seconds']);
/** Askers at once: what one tenant may have in the store (QUERY_MAX_AT_ONCE). */
const ASKERS = 2;
const ITEMS_PER_BODY = 1000;

const temporary = mkdtempSync(join(tmpdir(), 'telemetryflow-query-'));
process.on('exit', () => rmSync(temporary, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));
const startedAt = performance.now();
const progress = (text: string) =>
  process.stderr.write(`... ${Math.round((performance.now() - startedAt) / 1000)} s: ${text}\n`);
const row = (...cells: (string | number)[]) => `| ${cells.join(' | ')} |`;
const million = (rows: number) => `${Math.round(rows / 1e5) / 10} M`;

interface Measured {
  question: Question;
  cold: number[];
  warm: number[];
  /** Of the program, all threads, in each warm run. */
  cpuMs: number;
  rowsRead: number;
  bytesRead: number;
}

async function measure(program: QueryProgram, question: Question): Promise<Measured> {
  const cold: number[] = [];
  const warm: number[] = [];
  const rows: number[] = [];
  const bytes: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    const path = await question.path(run);
    await program.dropCaches();
    cold.push((await program.ask(path)).ms);
  }
  const cpuBefore = cpuSeconds(program.pid);
  for (let run = 0; run < RUNS; run++) {
    const { ms, rowsRead, bytesRead } = await program.ask(await question.path(run));
    warm.push(ms);
    rows.push(rowsRead);
    bytes.push(bytesRead);
  }
  const cpuMs = ((cpuSeconds(program.pid) - cpuBefore) * 1000) / RUNS;
  const measured = {
    question,
    cold,
    warm,
    cpuMs,
    rowsRead: quantile(rows, 0.5),
    bytesRead: quantile(bytes, 0.5),
  };
  progress(
    `${question.name}: ${quantile(warm, 0.5).toFixed(1)} ms, cold ${quantile(cold, 0.5).toFixed(1)} ms`,
  );
  return measured;
}

/** The highest rate of the three signals together, then half of it, while the questions are asked by turns. */
async function mixUnderIngest(program: QueryProgram, questions: Question[]): Promise<string[]> {
  const order = (signal: (typeof SIGNALS)[number], seconds: number, itemsPerSecond?: number) =>
    prepareLoad({
      url: `${program.otlp}/v1/${signal}`,
      key: program.key,
      signal,
      bodies: 50,
      itemsPerBody: ITEMS_PER_BODY,
      gzip: false,
      connections: 5,
      itemsPerSecond,
      seconds,
      seed: SIGNALS.indexOf(signal),
    });
  const send = async (seconds: number, rates?: number[]) => {
    const loads = await Promise.all(SIGNALS.map((signal, at) => order(signal, seconds, rates?.[at])));
    return () => Promise.all(loads.map((load) => load.go()));
  };
  progress('ingest at its highest rate');
  const highest = (await (await send(10))()).map(({ items, seconds }) => items / seconds);
  await sleep(10_000);
  const go = await send(
    MIX_SECONDS,
    highest.map((rate) => rate / 2),
  );
  progress(`asking while ${Math.round(highest.reduce((a, b) => a + b) / 2 / 1000)} k items/s come in`);
  const times = new Map<string, number[]>(questions.map(({ name }) => [name, []]));
  const sending = go();
  const until = performance.now() + MIX_SECONDS * 1000;
  let turn = 0;
  const asker = async () => {
    while (performance.now() < until) {
      const [question, round] = [questions[turn % questions.length], Math.floor(turn / questions.length)];
      turn++;
      times.get(question.name)!.push((await program.ask(await question.path(round))).ms);
    }
  };
  await Promise.all(Array.from({ length: ASKERS }, asker));
  const reports = await sending;
  const all = [...times.values()].flat();
  const under = (list: number[]) => [quantile(list, 0.5).toFixed(0), quantile(list, 0.95).toFixed(0)];
  return [
    '',
    '## The mix while data come in',
    '',
    `Highest rate of spans, log records and points together: ${(highest.reduce((a, b) => a + b) / 1000).toFixed(0)} k/s; at half of it (${reports.map(({ items, seconds }, at) => `${(items / seconds / 1000).toFixed(0)} k/s ${SIGNALS[at]}, acknowledged p99 ${reports[at].ackP99Ms.toFixed(0)} ms`).join('; ')}),`,
    `sent by three processes on the same machine, ${ASKERS} askers without pauses for ${MIX_SECONDS} s, the questions above by turns.`,
    '',
    row('question', 'asked', 'p50 ms', 'p95 ms'),
    row('---', '---:', '---:', '---:'),
    row('**all**', all.length, ...under(all)),
    ...[...times].map(([name, list]) => row(name, list.length, ...under(list))),
  ];
}

async function disk(program: QueryProgram): Promise<string[]> {
  const tables = await program.sql<
    Record<'table' | 'rows' | 'bytes' | 'indexes' | 'parts' | 'partitions', string>
  >(
    `SELECT table, sum(rows) AS rows, sum(bytes_on_disk) AS bytes, sum(secondary_indices_compressed_bytes) AS indexes, count() AS parts,
  uniqExact(partition) AS partitions FROM system.parts
WHERE active AND database = currentDatabase() GROUP BY table HAVING rows > 1000 ORDER BY table`,
  );
  const [{ bytes: histograms }] = await program.sql<{ bytes: string }>(
    `SELECT sum(data_compressed_bytes) AS bytes FROM system.columns WHERE database = currentDatabase() AND table = 'telemetry_metrics'
AND name IN ('count', 'sum', 'explicit_bounds', 'bucket_counts')`,
  );
  return [
    '',
    '## On disk',
    '',
    row('table', 'rows', 'parts', 'of days or months', 'bytes per row', 'of it skip indexes', 'MB'),
    row('---', '---:', '---:', '---:', '---:', '---:', '---:'),
    ...tables.map(({ table, rows, bytes, indexes, parts, partitions }) =>
      row(
        table,
        rows,
        parts,
        partitions,
        (Number(bytes) / Number(rows)).toFixed(2),
        (Number(indexes) / Number(rows)).toFixed(2),
        (Number(bytes) / 1e6).toFixed(0),
      ),
    ),
    '',
    `In \`telemetry_metrics\` one point in 25 is a histogram; what histograms alone have takes ${(Number(histograms) / 1e6).toFixed(1)} MB of it.`,
  ];
}

interface Asked {
  data: QueryData;
  measured: Measured[];
  after: string[];
  caches: string[];
}

async function askAt(scale: number, isLast: boolean): Promise<Asked> {
  const kept = options.data && (options.growth ? join(options.data, `scale-${scale}`) : options.data);
  const dataDir = kept ?? join(temporary, `scale-${scale}`);
  progress(`scale ${scale}: data in ${dataDir}`);
  const data = await queryData(dataDir, scale, progress);
  const program = await startQueryProgram(dataDir);
  const after = await disk(program);
  const all = await questionsAbout(data, program);
  const questions = all.filter(({ name }) => name.includes(options.only));
  const measured: Measured[] = [];
  for (const question of questions) measured.push(await measure(program, question));
  if (isLast && options.ingest) after.push(...(await mixUnderIngest(program, questions)));
  const { caches } = program;
  await program.stop();
  if (!kept) rmSync(dataDir, { recursive: true, force: true });
  return { data, measured, after, caches };
}

function questionTable(measured: Measured[]): string[] {
  const at = (list: number[], share: number) => quantile(list, share).toFixed(1);
  return [
    row(
      'question',
      'aim ms',
      'warm p50',
      'warm p95',
      'cold p50',
      'cold p95',
      'CPU ms',
      'rows read',
      'MB read',
    ),
    row('---', '---:', '---:', '---:', '---:', '---:', '---:', '---:', '---:'),
    ...measured.map(({ question, cold, warm, cpuMs, rowsRead, bytesRead }) => {
      const p50 = at(warm, 0.5);
      const isMissed = question.aimMs !== undefined && Number(p50) >= question.aimMs;
      const shown = isMissed ? `**${p50}**` : p50;
      const read = [cpuMs.toFixed(0), rowsRead, (bytesRead / 1e6).toFixed(1)];
      return row(
        question.name,
        question.aimMs ?? '',
        shown,
        at(warm, 0.95),
        at(cold, 0.5),
        at(cold, 0.95),
        ...read,
      );
    }),
  ];
}

function growthTable(asked: Asked[]): string[] {
  const points = ({ data }: Asked) => million(data.rows.metrics + data.rows.histograms);
  const name = ({ question }: Measured) => question.name;
  return [
    '',
    '## As the data grow',
    '',
    'Warm p50 in ms, by metric points; logs are half and spans a fifth of that.',
    '',
    row('question', ...asked.map(points)),
    row('---', ...asked.map(() => '---:')),
    ...asked[0].measured.map((first) =>
      row(
        name(first),
        ...asked.map(({ measured }) =>
          quantile(measured.find((other) => name(other) === name(first))!.warm, 0.5).toFixed(1),
        ),
      ),
    ),
  ];
}

function raw({ measured }: Asked): string[] {
  const p50 = (wanted: string) => {
    const found = measured.find(({ question }) => question.name === wanted);
    return found ? quantile(found.warm, 0.5) : Number.NaN;
  };
  const times = p50(RAW) / p50('24 h of a metric by hour');
  return Number.isNaN(times)
    ? []
    : ['', `A day by hour is ${times.toFixed(1)} times as fast from rollups as from raw points.`];
}

const load = loadavg()[0];
const scales = options.growth ? [0.1 * SCALE, 0.3 * SCALE, SCALE] : [SCALE];
const asked: Asked[] = [];
for (const scale of scales) asked.push(await askAt(scale, scale === SCALE));
const last = asked[asked.length - 1];
const { rows, madeInSeconds } = last.data;
const revision = execFileSync('git', ['-C', PACKAGE_ROOT, 'rev-parse', '--short', 'HEAD'], {
  encoding: 'utf8',
});
const minutes = ((performance.now() - startedAt) / 60_000).toFixed(0);
const lines = [
  '# Questions',
  '',
  `\`npm run bench:query -- --scale ${SCALE}\`, ${new Date().toISOString().slice(0, 10)}, ${revision.trim()}: ${million(rows.metrics + rows.histograms)} metric points, ${million(rows.logs)} log records, ${million(rows.traces)} spans over ${DAYS} days and 3 tenants, of which the asked one has half.`,
  `${cpus().length} x ${cpus()[0].model}, Node ${process.versions.node}, load ${load.toFixed(1)} at the beginning. The data took ${madeInSeconds} s to make, the whole run ${minutes} minutes.`,
  '',
  `Through the HTTP API of the running program with its cache off, ${RUNS} runs each, ms as the client sees them. Another id, word, service or end of the range in each run. Cold: before each run the engine lets go of`,
  `${last.caches.join(', ').toLowerCase()}; the operating system's page cache stays. Warm: the same ${RUNS} after those. Aims are of the warm p50; what misses one is bold. CPU: of the program, all threads, in a warm run.`,
  '',
  ...questionTable(last.measured),
  ...raw(last),
  ...(options.growth ? growthTable(asked) : []),
  ...last.after,
];
console.log(lines.join('\n'));
writeFileSync(options.out, `${lines.join('\n')}\n`);
process.exit(0);
