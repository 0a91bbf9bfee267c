// Puts the compiled program and the packages it loads at each start into a few files, below dist/program. Finding and reading its 1,600
// files one by one is two thirds of what loading it costs (docs/decisions/start.md).
const { rmSync } = require('node:fs');
const { join } = require('node:path');

const root = join(__dirname, '..');
const FOLDER = join(root, 'dist', 'program');

/** Files that are started by their names: they lie beside each other, as the code that starts them expects. */
const ENTRIES = [
  'cli.js',
  'threads/transcode.thread.js',
  'threads/transcode.trial.js',
  'connections/pglite-init.js',
];

/** Native, or with files of their own that they look for beside themselves, or loaded only when needed and by other packages too. */
const EXTERNAL = [
  'chdb',
  'argon2',
  '@electric-sql/pglite',
  '@electric-sql/pglite-socket',
  '@grpc/grpc-js',
  '@grpc/proto-loader',
  '@grpc/reflection',
  'grpc-health-check',
  'bullmq',
  'ioredis',
  'nodemailer',
  'pino',
  'swagger-ui-dist',
];

/** Packages that others offer to use and that are not installed: an error where they are loaded, as without a bundle. */
const notInstalled = {
  name: 'not-installed',
  setup(build) {
    build.onResolve({ filter: /^[^./]/ }, async ({ path, kind, importer, resolveDir, pluginData }) => {
      if (pluginData === notInstalled) return undefined;
      const found = await build.resolve(path, { kind, importer, resolveDir, pluginData: notInstalled });
      return found.errors.length > 0 ? { path, external: true } : found;
    });
  },
};

async function bundle() {
  const { build } = require('esbuild');
  rmSync(FOLDER, { recursive: true, force: true });
  await build({
    entryPoints: ENTRIES.map((name) => join(root, 'dist', 'src', name)),
    entryNames: '[name]',
    outdir: FOLDER,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    keepNames: true,
    legalComments: 'linked',
    logLevel: 'error',
    external: EXTERNAL,
    plugins: [notInstalled],
    // CommonJS packages ask for Node's own modules by `require`, which ES modules do not have.
    banner: {
      js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
    },
  });
}

bundle().catch((error) => {
  rmSync(FOLDER, { recursive: true, force: true });
  console.error(`The program runs from its single files: ${error.message}`);
});
