import { execFileSync, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Random } from '../demo/random.js';
import { PACKAGE_ROOT } from '../src/version.js';
import { type ServerUnderTest, startServer } from './children.js';
import { cpuSeconds, quantile, sleep } from './process-stats.js';

/*
 * A team looks at its dashboards while the demo shop sends: the same questions at the same moments, with the cache off and on, on the
 * real program. `npm run bench:dashboard [-- --seconds 25 --users 20]`.
 */
const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '25' },
    users: { type: 'string', default: '20' },
    out: { type: 'string', default: join(PACKAGE_ROOT, 'bench', 'results', 'dashboard.md') },
  },
});
const SECONDS = Number(options.seconds);
const USERS = Number(options.users);
const DEMO_AHEAD_MS = 6_000;
/** Users are at it for this long before it counts: dashboards stay open. */
const AHEAD_MS = 10_000;
const ALL_MS = AHEAD_MS + SECONDS * 1000;
const REFRESH_MS = 10_000;
/** Of one user, from one look into the logs to the next. */
const LOGS_MS = 15_000;
const DEMO_RATE = 20;

const SERVER = 'metric=http.server.request.duration';
const CLIENT = 'metric=http.client.request.duration';
const RPC = 'metric=rpc.server.duration';
const DATABASE = 'metric=db.client.operation.duration';
const RANGES = ['now-1h', 'now-24h', 'now-7d'];
/** Three dashboards, of all services and of two, each with four panels over each of the ranges. */
const DASHBOARDS = [
  [
    `${SERVER}&agg=p95&group_by=service_name`,
    `${SERVER}&agg=rate&group_by=service_name`,
    `${CLIENT}&agg=p50`,
    `${DATABASE}&agg=p99&group_by=service_name`,
  ],
  [
    `${SERVER}&agg=p95&service=frontend`,
    `${SERVER}&agg=rate&group_by=http.route&service=frontend`,
    `${CLIENT}&agg=p50&service=frontend`,
    `${CLIENT}&agg=rate&service=frontend`,
  ],
  [
    `${RPC}&agg=p95&service=checkout`,
    `${RPC}&agg=rate&service=checkout`,
    `${DATABASE}&agg=p99&service=checkout`,
    `${DATABASE}&agg=rate&service=checkout`,
  ],
].map((panels) => RANGES.flatMap((from) => panels.map((panel) => `metrics/query?${panel}&from=${from}`)));
const SEARCHES = [
  'logs?min_severity=error&limit=50',
  'logs?min_severity=warn&service=payment&limit=50',
  'logs?q=failed&limit=50',
  'logs?service=checkout&limit=50',
];

interface Look {
  users: number;
  /** Parameter of the panels. */
  maxAge: string;
}

/** What happens when, the same in all runs: [ms, question]. */
function workload({ users, maxAge }: Look): [atMs: number, question: string][] {
  const random = new Random(7);
  const events: [number, string][] = [];
  for (let user = 0; user < users; user++) {
    const panels = DASHBOARDS[user % DASHBOARDS.length];
    for (let at = random.next() * REFRESH_MS; at < ALL_MS; at += REFRESH_MS)
      for (const panel of panels) events.push([at, panel + maxAge]);
    for (let at = random.next() * LOGS_MS; at < ALL_MS; at += LOGS_MS)
      events.push([at, SEARCHES[Math.floor(random.next() * SEARCHES.length)]]);
  }
  return events.sort(([one], [other]) => one - other);
}

interface Seen {
  group: string;
  cache: string;
  ms: number;
  /** How old the answer was; 0: made for this request. */
  ageMs: number;
}

/** Panels without a single point, which no dashboard has. */
const empty = new Set<string>();

async function ask(server: ServerUnderTest, question: string): Promise<Seen> {
  const startedAt = performance.now();
  const answer = await fetch(`${server.api}/api/v1/${question}`, {
    headers: { authorization: `Bearer ${server.key}` },
  });
  const body = (await answer.json()) as { meta?: { cache: string; age_ms?: number }; series?: unknown[] };
  const isRefused = answer.status === 429;
  if (!answer.ok && !isRefused) throw new Error(`${question}: ${answer.status} ${JSON.stringify(body)}`);
  const group = question.startsWith('logs')
    ? 'log searches, 1h'
    : `panels, ${/from=now-(\w+)/.exec(question)![1]}`;
  const { cache, age_ms: ageMs = 0 } = body.meta ?? { cache: 'refused' };
  if (body.series?.length === 0) empty.add(question);
  return { group, cache, ageMs, ms: performance.now() - startedAt };
}

/** How often the store was asked for an answer. */
async function computed(server: ServerUnderTest): Promise<number> {
  const text = await (await fetch(`${server.api}/metrics`)).text();
  return Number(/^telemetryflow_cache_computed_total\{result="ok"\} (\d+)/m.exec(text)?.[1] ?? 0);
}

async function run(look: Look, env: Record<string, string>) {
  const server = await startServer(env);
  const shop = fileURLToPath(new URL('../demo/shop.js', import.meta.url));
  const demo = spawn(
    process.execPath,
    [shop, '--endpoint', server.otlp, '--key', server.key, '--rate', String(DEMO_RATE), '--seed', '1'],
    { stdio: 'ignore' },
  );
  const ended = new Promise((resolve) => demo.once('exit', resolve));
  try {
    await sleep(DEMO_AHEAD_MS);
    const startedAt = performance.now();
    const events = workload(look);
    const answers: Promise<Seen>[] = [];
    const askUntil = async (untilMs: number) => {
      while (events.length > 0 && events[0][0] < untilMs) {
        const [atMs, question] = events.shift()!;
        await sleep(Math.max(0, atMs - (performance.now() - startedAt)));
        answers.push(ask(server, question));
      }
    };
    await askUntil(AHEAD_MS);
    await Promise.all(answers.splice(0));
    const before = { computed: await computed(server), cpu: cpuSeconds(server.pid) };
    await askUntil(ALL_MS);
    const seen = await Promise.all(answers);
    return {
      seen,
      asked: (await computed(server)) - before.computed,
      cpu: cpuSeconds(server.pid) - before.cpu,
    };
  } finally {
    demo.kill('SIGTERM');
    await ended;
    await server.stop();
  }
}

const percent = (part: number, all: number) => `${((part / all) * 100).toFixed(1)} %`;
const isHit = ({ cache }: Seen) => cache === 'L1' || cache === 'L2';
const row = (...cells: (string | number)[]) => `| ${cells.join(' | ')} |`;

/** A panel takes what is no older than its refresh interval. */
const maxAge = `&max_age=${REFRESH_MS / 1000}`;
const off = await run({ users: USERS, maxAge }, { CACHE_L1_ENTRIES: '0' });
const fresh = await run({ users: USERS, maxAge: '' }, {});
const on = await run({ users: USERS, maxAge }, {});
const crowd = await run({ users: 3 * USERS, maxAge }, {});
type Run = typeof off;
const table = (name: string, read: (run: Run) => string | number) => [
  row(name, ...[off, fresh, on, crowd].map(read)),
];
const at = (seen: Seen[], share: number) =>
  quantile(
    seen.map(({ ms }) => ms),
    share,
  ).toFixed(1);
const revision = execFileSync('git', ['-C', PACKAGE_ROOT, 'rev-parse', '--short', 'HEAD'], {
  encoding: 'utf8',
});
const lines = [
  '# Dashboards while data comes in',
  '',
  `\`npm run bench:dashboard\`: ${USERS} users of one tenant at 3 dashboards of 12 panels (4 each over 1h, 24h, 7d), which refresh every ${REFRESH_MS / 1000} s at moments of`,
  `their own, and a log search each every ${LOGS_MS / 1000} s, for ${SECONDS} s after ${AHEAD_MS / 1000} s that don't count, while the demo shop sends (${DEMO_RATE} requests/s, metrics of 8 services every`,
  `5 s, where SDKs send once a minute unless told otherwise; logs twice a second). Panels say \`max_age=${REFRESH_MS / 1000}\`: an answer as old as their refresh interval will do; in the second column they say`,
  'nothing. Searches of logs never do, who searches wants the last second. One process, no Redis.',
  `One run each, in this order, on a machine that others used too. ${cpus().length} x ${cpus()[0].model}, Node ${process.versions.node}, ${new Date().toISOString().slice(0, 10)}, ${revision.trim()}.`,
  '',
  row('users', USERS, USERS, USERS, 3 * USERS),
  row('---', '---:', '---:', '---:', '---:'),
  row('cache', 'off', 'on', 'on', 'on'),
  row('panels take answers', '', 'of a second ago', 'of 10 s ago', 'of 10 s ago'),
  ...table('answers', ({ seen }) => seen.length),
  ...table(
    'of them refused: too many at once',
    ({ seen }) => seen.filter(({ cache }) => cache === 'refused').length,
  ),
  ...table('of them hits', ({ seen }) => percent(seen.filter(isHit).length, seen.length)),
  ...table('answers that the store was asked for', ({ asked }) => asked),
  ...table('fewer than answers by', ({ seen, asked }) => percent(seen.length - asked, seen.length)),
  ...table('oldest hit, s', ({ seen }) => (Math.max(0, ...seen.map(({ ageMs }) => ageMs)) / 1000).toFixed(1)),
  ...table('p50, ms', ({ seen }) => at(seen, 0.5)),
  ...table('p95, ms', ({ seen }) => at(seen, 0.95)),
  ...table('CPU seconds of the program', ({ cpu }) => cpu.toFixed(1)),
  ...[...new Set(on.seen.map(({ group }) => group))].sort().flatMap((group) =>
    table(`hits: ${group}`, ({ seen }) => {
      const those = seen.filter((one) => one.group === group);
      return percent(those.filter(isHit).length, those.length);
    }),
  ),
  '',
  '`hits` are answers from the cache; who joins a question that is being answered is no hit, and asks the store nothing either. Answers that are computed anew before they are',
  'over count among those that the store was asked for.',
];
if (empty.size > 0) console.error(`Without points: ${[...empty].join(' ')}`);
console.log(lines.join('\n'));
writeFileSync(options.out, `${lines.join('\n')}\n`);
