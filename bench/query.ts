import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { SIGNALS } from '../src/signal.js';
import { PACKAGE_ROOT } from '../src/version.js';
import { prepareLoad } from './children.js';
import { cpuSeconds, quantile, sleep } from './process-stats.js';
import { queryData } from './query-data.js';
import { type QueryProgram, startQueryProgram } from './query-program.js';
import { type Question, questionsAbout } from './query-questions.js';
import { type Asked, type Measured, report, row } from './query-report.js';

/*
 * Questions over the HTTP API on a month of data: `npm run bench:query [-- --scale 0.1 --data <dir> --growth 0.1,0.3]`. Scale 1 is 100 million
 * metric points, 50 million log records and 20 million spans; --data keeps the folder, and uses it again; --growth asks at these
 * parts of the scale, too. --no-ingest leaves the mix under load out, --only <text> asks the questions whose names hold it, and --no-ask
 * makes the data alone.
 */
const { values: options } = parseArgs({
  allowNegative: true,
  options: {
    scale: { type: 'string', default: '1' },
    data: { type: 'string' },
    runs: { type: 'string', default: '30' },
    growth: { type: 'string', default: '' },
    ingest: { type: 'boolean', default: true },
    ask: { type: 'boolean', default: true },
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

/** Adds to `asked` as it goes, and writes what there is after each question: a run of an hour that is cut off is not lost. */
async function askAt(scale: number, isLast: boolean): Promise<void> {
  const kept = options.data && (options.growth ? join(options.data, `scale-${scale}`) : options.data);
  const dataDir = kept ?? join(temporary, `scale-${scale}`);
  progress(`scale ${scale}: data in ${dataDir}`);
  const data = await queryData(dataDir, scale, progress);
  if (!options.ask) return;
  const program = await startQueryProgram(dataDir);
  const { caches } = program;
  const at: Asked = { data, measured: [], after: await disk(program), caches };
  asked.push(at);
  const all = await questionsAbout(data, program);
  const questions = all.filter(({ name }) => name.includes(options.only));
  for (const question of questions) {
    at.measured.push(await measure(program, question));
    write(true);
  }
  if (isLast && options.ingest) at.after.push(...(await mixUnderIngest(program, questions)));
  await program.stop();
  if (!kept) rmSync(dataDir, { recursive: true, force: true });
}

function write(isCutOff: boolean): string {
  const minutes = (performance.now() - startedAt) / 60_000;
  const text = report(asked, { scale: SCALE, runs: RUNS, load, minutes, isCutOff });
  writeFileSync(options.out, text);
  return text;
}

const load = loadavg()[0];
const asked: Asked[] = [];
const parts = options.growth.split(',').filter(Boolean);
const scales = [...parts.map((part) => Number(part) * SCALE), SCALE];
for (const scale of scales) await askAt(scale, scale === SCALE);
if (options.ask) console.log(write(false));
process.exit(0);
