import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { PACKAGE_ROOT } from '../src/version.js';
import { benchBacklogs } from './queue-backlog.js';
import { benchIngest } from './queue-ingest.js';
import { benchJobs } from './queue-jobs.js';
import { benchEntries } from './redis-entries.js';

/*
 * The queues, in one run: empty jobs on both drivers beside BullMQ itself; the ingestion's queue in Redis alone, and between an API and a
 * worker process; backlogs. Redis and PostgreSQL have to be installed, their servers are started here.
 * `npm run bench:queue [-- --only jobs,entries,ingest,backlog --jobs 5000 --rounds 5 --backlog 1000000 --bodies 200000 --redis-backlog 100000]`.
 */
const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: 'jobs,entries,ingest,backlog' },
    jobs: { type: 'string', default: '5000' },
    rounds: { type: 'string', default: '5' },
    /** Of each case of the ingestion's queue alone. */
    seconds: { type: 'string', default: '2' },
    requests: { type: 'string', default: '30000' },
    backlog: { type: 'string', default: '1000000' },
    bodies: { type: 'string', default: '200000' },
    'redis-backlog': { type: 'string', default: '100000' },
    out: { type: 'string', default: join(PACKAGE_ROOT, 'bench', 'results', 'queue.md') },
  },
});

/** Where a part of the benchmark says what it measured, and how far it is. */
export interface Bench {
  say(line: string): void;
  progress(text: string): void;
}

const lines: string[] = [];
const bench: Bench = {
  say: (line) => {
    console.log(line);
    lines.push(line);
  },
  progress: (text) => void process.stderr.write(`... ${text}\n`),
};
const load = () => loadavg()[0].toFixed(1);

const wanted = new Set(options.only.split(','));
bench.say(
  `# Queues\n\n\`npm run bench:queue\`, ${new Date().toISOString().slice(0, 10)}, ${cpus().length} cores (${cpus()[0].model}), Node ${process.version}. Load of the machine before it: ${load()}.`,
);
if (wanted.has('jobs')) await benchJobs(bench, Number(options.jobs), Number(options.rounds));
if (wanted.has('entries')) await benchEntries(bench, Number(options.seconds));
if (wanted.has('ingest')) await benchIngest(bench, Number(options.requests));
if (wanted.has('backlog'))
  await benchBacklogs(bench, {
    'jobs-disk': Number(options.backlog),
    'bodies-disk': Number(options.bodies),
    'jobs-redis': Number(options['redis-backlog']),
  });
bench.say(`\nLoad of the machine at the end: ${load()}.`);
mkdirSync(dirname(options.out), { recursive: true });
writeFileSync(options.out, `${lines.join('\n')}\n`);
