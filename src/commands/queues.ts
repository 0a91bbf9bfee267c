import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../config.js';
import { StartupError } from '../errors.js';
import type { QueueAnswer } from '../monitoring/queues.schema.js';
import { parseArguments } from './arguments.js';
import { type Call, withServer } from './running-server.js';
import { table } from './table.js';

export const QUEUES_USAGE = `telemetryflow queues [--once] [--every 2] [--url http://host:3000] [--key <key>]
telemetryflow queues pause|resume|retry-failed <queue>
telemetryflow queues drop-failed <queue> --all|<id>...

Shows the queues of the running server, again every 2 seconds until Ctrl+C, or once where the output is no terminal. The server is the one
of DATA_DIR, or --url; without --key the command makes itself a key through DATABASE_URL or DATA_DIR.
What is dropped is gone for good, and counted as dropped in the ledger. GET /api/v1/queues/<queue>?state=failed lists the ids.
`;

const ACTIONS = ['pause', 'resume', 'retry-failed'];
const DROP = 'drop-failed';
const CLEAR = '\u001b[H\u001b[2J';

const usage = (problem: string) => new StartupError(`${problem}\n\n${QUEUES_USAGE}`);

/**
 * `telemetryflow queues ...`
 *
 * @throws StartupError when it is not used as `QUEUES_USAGE` says, or no server answers
 */
export async function queuesCommand(config: Config, args: string[]): Promise<void> {
  const { values, positionals } = parse(args);
  const everySeconds = Number(values.every ?? 2);
  if (!(everySeconds >= 0.2 && everySeconds <= 3600))
    throw usage(`--every ${values.every}: 0.2 to 3600 seconds`);
  const [action, queue, ...ids] = positionals;
  if (action !== undefined && (![...ACTIONS, DROP].includes(action) || queue === undefined))
    throw usage(`Unexpected: ${positionals.join(' ')}`);
  if (ids.length > 0 && action !== DROP) throw usage(`Unexpected: ${ids.join(' ')}`);
  const isAll = values.all ?? false;
  if (isAll !== (action === DROP && ids.length === 0))
    throw usage(`${DROP} takes either ids or --all, and nothing else does`);
  const body = action === DROP ? (isAll ? { all: true } : { ids }) : undefined;
  const { url, key } = values;
  await withServer(config, { url, key }, ['admin'], async (call) => {
    if (action === undefined) await show(call, values.once ?? !process.stdout.isTTY, everySeconds * 1000);
    else
      console.log(JSON.stringify(await call('POST', `/queues/${encodeURIComponent(queue)}/${action}`, body)));
  });
}

function parse(args: string[]) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  const options = { once: flag, all: flag, every: text, url: text, key: text } as const;
  return parseArguments({ args, options, allowPositionals: true }, usage);
}

async function show(call: Call, once: boolean, everyMs: number): Promise<void> {
  const stopping = new AbortController();
  const stop = () => stopping.abort();
  // SIGHUP: its terminal was closed. In any case the key that it made itself is taken away.
  process.once('SIGINT', stop).once('SIGTERM', stop).once('SIGHUP', stop);
  while (!stopping.signal.aborted) {
    const { data } = await call<{ data: QueueAnswer[] }>('GET', '/queues');
    console.log(`${once ? '' : CLEAR}${queueLines(data).join('\n')}`);
    if (once) return;
    await sleep(everyMs, undefined, { signal: stopping.signal }).catch(() => undefined);
  }
}

const shown = (value: number | null, digits = 0) => (value === null ? '-' : value.toFixed(digits));

/** The figures as a table, and under it what is to be done. */
export function queueLines(queues: readonly QueueAnswer[]): string[] {
  const head = [
    'QUEUE',
    'WAITING',
    'ACTIVE',
    'DELAYED',
    'DONE',
    'FAILED',
    'JOBS/S',
    'AVG MS',
    'OK %',
    'LAG MS',
    'HEALTH',
  ];
  const rows = queues.map((queue) => [
    queue.name,
    String(queue.waiting),
    String(queue.active),
    String(queue.delayed),
    String(queue.completed),
    String(queue.failed),
    shown(queue.jobs_per_second, 1),
    shown(queue.average_ms, 1),
    shown(queue.success_percent, 1),
    shown(queue.lag_ms),
    queue.health,
  ]);
  const advice = queues.flatMap(({ name, advice: lines }) => lines.map((line) => `${name}: ${line}`));
  return [...table([head, ...rows]), ...(advice.length > 0 ? ['', ...advice] : [])];
}
