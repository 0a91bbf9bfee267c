import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkBody } from '../src/otlp/check.js';
import type { Signal } from '../src/signal.js';
import { Transcoder } from '../src/transcode/transcoder.js';
import { PACKAGE_ROOT } from '../src/version.js';
import {
  type BodyOptions,
  makeHistogramsBody,
  makeLogsBody,
  makeMetricsBody,
  makeTracesBody,
} from '../test/support/otlp-bodies.js';
import { otlp } from '../test/support/otlp-proto.js';
import { plainRows } from './plain-rows.js';

/*
 * The transcoder and the check alone, beside the naive way on the same bodies in the same process: protobufjs decode,
 * an object per row, JSON.stringify. Rounds alternate, so that a busy machine hurts all alike; the median counts.
 *
 *   npm run bench:transcoder [rounds]
 */
const ITEMS = 1000;
const BODIES = 100;
const NAIVE_BODIES = 10;
const nowMs = Date.now();
const window = { receivedAtMs: nowMs, retentionDays: 30 };
const rounds = Number(process.argv[2] ?? 9);

interface Case {
  name: string;
  signal: Signal;
  make: (options: BodyOptions) => Uint8Array;
}
const CASES: Case[] = [
  { name: 'spans', signal: 'traces', make: makeTracesBody },
  { name: 'log records', signal: 'logs', make: makeLogsBody },
  { name: 'number points', signal: 'metrics', make: makeMetricsBody },
  { name: 'histogram mix', signal: 'metrics', make: makeHistogramsBody },
];

/** Items per CPU-second of `work`. */
function rate(items: number, work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return items / ((user + system) / 1e6);
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1];
}

let sink = 0;

function measure({ name, signal, make }: Case): string {
  const bodies = Array.from({ length: BODIES }, (_, seed) => make({ items: ITEMS, seed, nowMs }));
  const bytesPerItem = bodies.reduce((sum, body) => sum + body.length, 0) / (BODIES * ITEMS);
  const transcoder = new Transcoder(signal);
  const rates = {
    check: [] as number[],
    transcode: [] as number[],
    naive: [] as number[],
    decode: [] as number[],
  };
  let blockBytes = 0;
  // The plain rows do not have the columns of the histogram mix.
  const isCompared = make !== makeHistogramsBody;
  for (let round = -2; round < rounds; round++) {
    const transcode = rate(BODIES * ITEMS, () => {
      for (const body of bodies) transcoder.add(body, window);
      blockBytes = transcoder.finish().chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    });
    const check = rate(BODIES * ITEMS, () => {
      for (const body of bodies) sink += checkBody(signal, body, window).items;
    });
    const few = bodies.slice(0, NAIVE_BODIES);
    const decode = rate(NAIVE_BODIES * ITEMS, () => {
      for (const body of few) sink += Object.keys(otlp[signal].decode(body)).length;
    });
    const plain =
      isCompared &&
      rate(NAIVE_BODIES * ITEMS, () => {
        for (const body of few) {
          const message = otlp[signal].decode(body) as object as Record<string, unknown>;
          plainRows(signal, message, (line) => {
            sink += line.length;
          });
        }
      });
    if (round < 0) continue;
    rates.check.push(check);
    rates.transcode.push(transcode);
    rates.naive.push(plain || 0);
    rates.decode.push(decode);
  }
  const [check, transcode, plain, decode] = [rates.check, rates.transcode, rates.naive, rates.decode].map(
    median,
  );
  const thousands = (value: number) => `${Math.round(value / 1000)} k`.padStart(9);
  const megabytes = (value: number) => `${Math.round((value * bytesPerItem) / 1e6)} MB/s`.padStart(10);
  const ratio = isCompared ? `${(transcode / plain).toFixed(1)} x` : '-';
  return [
    name.padEnd(14),
    Math.round(bytesPerItem).toString().padStart(7),
    Math.round(blockBytes / (BODIES * ITEMS))
      .toString()
      .padStart(7),
    thousands(check),
    megabytes(check),
    thousands(transcode),
    megabytes(transcode),
    isCompared ? thousands(plain) : '-'.padStart(9),
    ratio.padStart(8),
    thousands(decode),
  ].join('');
}

const lines = [
  `Items per CPU-second on one core, median of ${rounds} rounds, ${BODIES} bodies of ${ITEMS} items; Node ${process.versions.node}.`,
  'naive: protobufjs decode, object per row, JSON.stringify. decode: protobufjs decode alone.',
  'B in and B out are bytes an item takes as OTLP and in the Native block.',
  '',
  'items            B in  B out    check            transcode              naive   ratio   decode',
];
console.log(lines.join('\n'));
for (const entry of CASES) {
  lines.push(measure(entry));
  console.log(lines.at(-1));
}
const results = join(PACKAGE_ROOT, 'bench', 'results');
mkdirSync(results, { recursive: true });
writeFileSync(join(results, 'transcoder.txt'), `${lines.join('\n')}\n`);
if (sink === 0) throw new Error('nothing was measured');
