import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';
import { PACKAGE_ROOT } from '../src/version.js';
import { quantile } from './process-stats.js';
import { DAYS, type QueryData } from './query-data.js';
import { type Question, RAW } from './query-questions.js';

/** One question, asked many times. */
export interface Measured {
  question: Question;
  cold: number[];
  warm: number[];
  /** Of the program, all threads, in each warm run. */
  cpuMs: number;
  rowsRead: number;
  bytesRead: number;
}

/** All questions at one size of the data. */
export interface Asked {
  data: QueryData;
  measured: Measured[];
  after: string[];
  caches: string[];
}

/** A line of a table. */
export const row = (...cells: (string | number)[]) => `| ${cells.join(' | ')} |`;
const million = (rows: number) => `${Math.round(rows / 1e5) / 10} M`;

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
        ...asked.map(({ measured }) => {
          const found = measured.find((other) => name(other) === name(first));
          return found ? quantile(found.warm, 0.5).toFixed(1) : '';
        }),
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

/** How a run was ordered. */
export interface Run {
  scale: number;
  runs: number;
  /** Of the machine, when it began. */
  load: number;
  minutes: number;
  /** Not all has been asked yet. */
  isCutOff: boolean;
}

/** The whole report, or what there is of it. */
export function report(asked: Asked[], { scale, runs, load, minutes, isCutOff }: Run): string {
  const last = asked[asked.length - 1];
  const { rows, madeInSeconds } = last.data;
  const git = ['-C', PACKAGE_ROOT, 'rev-parse', '--short', 'HEAD'];
  const revision = execFileSync('git', git, { encoding: 'utf8' }).trim();
  const lines = [
    '# Questions',
    '',
    ...(isCutOff ? ['**Not a whole run: what had been asked until then.**', ''] : []),
    `\`npm run bench:query -- --scale ${scale}\`, ${new Date().toISOString().slice(0, 10)}, ${revision}: ${million(rows.metrics + rows.histograms)} metric points, ${million(rows.logs)} log records, ${million(rows.traces)} spans over ${DAYS} days and 3 tenants, of which the asked one has half.`,
    `${cpus().length} x ${cpus()[0].model}, Node ${process.versions.node}, load ${load.toFixed(1)} at the beginning. The data took ${madeInSeconds} s to make, the whole run ${minutes.toFixed(0)} minutes.`,
    '',
    `Through the HTTP API of the running program with its cache off, ${runs} runs each, ms as the client sees them. Another id, word, service or end of the range in each run. Cold: before each run the engine lets go of`,
    `${last.caches.join(', ').toLowerCase()}; the operating system's page cache stays. Warm: the same ${runs} after those. Aims are of the warm p50; what misses one is bold. CPU: of the program, all threads, in a warm run.`,
    '',
    ...questionTable(last.measured),
    ...raw(last),
    ...(asked.length > 1 ? growthTable(asked) : []),
    ...last.after,
  ];
  return `${lines.join('\n')}\n`;
}
