import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { describe, it } from 'node:test';
import { PACKAGE_ROOT } from '../src/version.js';

/** The layers from top to bottom; a room may import from rooms after its own, and every room from the root files. */
const LAYERS = [
  ['commands'],
  ['ingest', 'explore', 'rollups', 'dashboards', 'alerts', 'notifications', 'access', 'openapi', 'verify'],
  ['tenants', 'notices'],
  ['monitoring'],
  ['threads'],
  ['answers'],
  ['series', 'figures', 'alert-states'],
  ['ledger'],
  ['store'],
  ['redis-queue', 'jobs', 'disk-jobs'],
  ['queue'],
  ['journal'],
  ['cache'],
  ['connections'],
  ['sql'],
  ['transcode'],
  ['native'],
  ['otlp'],
  ['outbound'],
  ['http'],
  ['edge'],
  ['memory'],
];
const FEATURES = LAYERS[1];
const MAX_FILES_PER_ROOM = 16;
const MAX_LINES = 300;

const SRC = join(PACKAGE_ROOT, 'src');
const files = readdirSync(SRC, { recursive: true })
  .map(String)
  .filter((name) => name.endsWith('.ts'));
const isTest = (name: string) => /\.(test|suite)\.ts$/.test(name);
const roomOf = (name: string) => (name.includes(sep) ? name.split(sep)[0] : '');
const layerOf = (room: string) => LAYERS.findIndex((rooms) => rooms.includes(room));

function importsOf(name: string): string[] {
  const text = readFileSync(join(SRC, name), 'utf8');
  return [...text.matchAll(/from '(\.[^']+)'|import\('(\.[^']+)'\)/g)].map((match) =>
    relative(SRC, resolve(SRC, dirname(name), match[1] ?? match[2])).replace(/\.js$/, '.ts'),
  );
}

describe('The rooms of the house', () => {
  it('every room is known to this plan', () => {
    const unknown = new Set(files.map(roomOf).filter((room) => room !== '' && layerOf(room) === -1));
    assert.deepEqual([...unknown], []);
  });

  it('nesting is two deep: src/room/file', () => {
    assert.deepEqual(
      files.filter((name) => name.split(sep).length > 2),
      [],
    );
  });

  it('imports point down, and features never import each other', () => {
    const wrong: string[] = [];
    for (const name of files.filter((file) => roomOf(file) !== '' && !isTest(file))) {
      for (const target of importsOf(name)) {
        const [from, to] = [roomOf(name), roomOf(target)];
        if (to === '' || to === from || target.startsWith('..')) continue;
        if (FEATURES.includes(from) && FEATURES.includes(to)) wrong.push(`${name} -> ${target} (features)`);
        else if (layerOf(to) < layerOf(from)) wrong.push(`${name} -> ${target} (up)`);
      }
    }
    assert.deepEqual(wrong, []);
  });

  it('no barrels: no index.ts, no file that re-exports another', () => {
    const barrels = files.filter(
      (name) =>
        /(^|[\\/])index\.ts$/.test(name) ||
        /^export (\*|\{[^}]*\}) from/m.test(readFileSync(join(SRC, name), 'utf8')),
    );
    assert.deepEqual(barrels, []);
  });

  it('only config.ts reads the environment', () => {
    const readers = files.filter(
      (name) =>
        !isTest(name) &&
        name !== 'config.ts' &&
        readFileSync(join(SRC, name), 'utf8').includes('process.env'),
    );
    assert.deepEqual(readers, []);
  });

  it(`files stay under ${MAX_LINES} lines, rooms under ${MAX_FILES_PER_ROOM + 1} files`, () => {
    const sources = files.filter((name) => !isTest(name));
    const long = sources.filter(
      (name) => readFileSync(join(SRC, name), 'utf8').split('\n').length > MAX_LINES + 1,
    );
    assert.deepEqual(long, []);
    const counts: Record<string, number> = {};
    for (const room of sources.map(roomOf).filter((name) => name !== ''))
      counts[room] = (counts[room] ?? 0) + 1;
    const crowded = Object.entries(counts).filter(([, count]) => count > MAX_FILES_PER_ROOM);
    assert.deepEqual(crowded, []);
  });
});
