// `npm start` and `npm test` from a fresh clone, any number of times: installs and builds what is missing or out of
// date, then runs. The second start does neither and costs a few milliseconds here.
const { spawnSync } = require('node:child_process');
const { createHash } = require('node:crypto');
const { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } = require('node:fs');
const { basename, join } = require('node:path');

const root = join(__dirname, '..');
const SOURCES = ['src', 'test', 'bench', 'demo', 'tsconfig.json', 'package.json'];
const INSTALLED = join(root, 'node_modules', '.telemetryflow-lock');
const BUILT = join(root, 'dist', '.built');
const ARCHIVE = join(root, 'dist', 'postgres.gz');

function fail(message) {
  console.error(message);
  process.exit(1);
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    fail(`TelemetryFlow needs Node 20.19 or later; this is ${process.versions.node}.`);
  }
}

/** Ctrl+C goes to the child as well, which ends in its own way; without a handler this process would not wait for it. */
function run(command, args, env = process.env) {
  const wait = () => {};
  process.on('SIGINT', wait);
  const { status, signal } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env });
  process.off('SIGINT', wait);
  if (status !== 0) process.exit(status ?? (signal ? 1 : 0));
}

/**
 * Installs when package-lock.json is not the one that was installed. Not by `npm ci`: it refuses a lock file that was
 * written where the registry did not offer the native packages of every other platform; what the lock file names is
 * installed exactly all the same.
 */
function install() {
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
  if (existsSync(INSTALLED) && readFileSync(INSTALLED, 'utf8') === lock) return;
  console.error('Installing packages (first time, or package-lock.json changed) ...');
  run('npm', [
    'install',
    '--no-save',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
    '--include=optional',
    '--include=dev',
  ]);
  writeFileSync(INSTALLED, lock);
}

function newestChange(path) {
  const info = statSync(path, { throwIfNoEntry: false });
  if (!info) return 0;
  if (!info.isDirectory()) return info.mtimeMs;
  // A folder's own time tells of files that were removed.
  return Math.max(info.mtimeMs, ...readdirSync(path).map((name) => newestChange(join(path, name))));
}

/** Builds when a source file is newer than the last build. */
function build() {
  const changed = Math.max(...SOURCES.map((name) => newestChange(join(root, name))));
  const built = statSync(BUILT, { throwIfNoEntry: false });
  if (built && built.mtimeMs >= changed) return;
  console.error('Building ...');
  for (const name of existsSync(join(root, 'dist')) ? readdirSync(join(root, 'dist')) : [])
    if (name !== basename(ARCHIVE)) rmSync(join(root, 'dist', name), { recursive: true, force: true });
  run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.json']);
  spawnSync(process.execPath, [join(__dirname, 'bundle.cjs')], { stdio: 'inherit' });
  makeArchive();
  writeFileSync(BUILT, '');
}

/** A new PostgreSQL directory in one file, from which first starts make theirs; without it they run initdb, which takes seconds. */
function makeArchive() {
  const made = statSync(ARCHIVE, { throwIfNoEntry: false });
  const initialiser = join('src', 'connections', 'pglite-init');
  if (
    made &&
    made.mtimeMs >= Math.max(newestChange(INSTALLED), newestChange(join(root, `${initialiser}.ts`)))
  )
    return;
  rmSync(ARCHIVE, { force: true });
  spawnSync(process.execPath, [join(root, 'dist', `${initialiser}.js`), '--archive'], { stdio: 'inherit' });
}

/** The compiled tests under `folders`: those for real servers end in `.servers.test.js`. */
function testFiles(wanted) {
  const all = ['src', 'test'].flatMap((folder) =>
    readdirSync(join(root, 'dist', folder), { recursive: true }).map((name) => join('dist', folder, name)),
  );
  return all.filter((name) => name.endsWith('.test.js') && wanted(name)).sort();
}

function test(wanted, args) {
  const files = testFiles((name) => wanted(name) && args.every((text) => name.includes(text)));
  if (files.length === 0) fail(`No test file matches ${args.join(' ')}`);
  run(process.execPath, [
    '--enable-source-maps',
    '--test',
    '--test-concurrency=3',
    '--test-timeout=600000',
    ...files,
  ]);
}

const isServerTest = (name) => name.endsWith('.servers.test.js');
const TASKS = {
  /** In this very process, so that there is one to stop. */
  start: (args) => {
    process.argv.splice(2, process.argv.length, 'start', ...args);
    require(join(root, 'dist', 'src', 'bin.cjs'));
  },
  test: (args) => test((name) => !isServerTest(name), args),
  'test:servers': (args) => test(isServerTest, args),
  /** A compiled program: demo, benchmarks. */
  program: ([file, ...args]) => run(process.execPath, ['--enable-source-maps', join('dist', file), ...args]),
};

const [name, ...args] = process.argv.slice(2);
if (!TASKS[name]) fail(`usage: node scripts/run.cjs ${Object.keys(TASKS).join(' | ')} [arguments]`);
checkNode();
install();
build();
TASKS[name](args);
