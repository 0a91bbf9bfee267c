import { forgetAddress, noteAddress } from './commands/address.js';
import { describeConfig, loadConfig } from './config.js';
import { StartupError } from './errors.js';
import { VERSION } from './version.js';

const USAGE = `telemetryflow ${VERSION}

Usage: telemetryflow [command]

  start          run the server (the default)
  config         print every setting: value in force, default, meaning
  verify-otlp    send every OTLP field to a running server, read it back, compare
  cleanup        delete what has outlived its retention on a running server; --dry-run only counts
  keys           make, list and revoke API keys
  users          reset a user's password
  queues         show the queues of a running server, live; pause, resume, retry, drop
  alerts         test, export and import alert rules
  version        print the version
`;

/** Everything must be over this long after SIGTERM. */
const MAX_STOP_MS = 30_000;

async function runServer(): Promise<void> {
  const startedAt = performance.now();
  const config = loadConfig();
  const { start } = await import('./main.js');
  const running = await start(config);
  // Before the line that says it runs: whoever reads that may stop it at once.
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.on(signal, () => void stopAndExit(running, config.DATA_DIR));
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  const address = (port: number) => `http://${running.host}:${port}`;
  noteAddress(config.DATA_DIR, address(running.apiPort));
  const { firstStart, signInCode } = running;
  const signIn = `${address(running.apiPort)}/login?code=${signInCode}`;
  console.log(
    [
      `TelemetryFlow ${VERSION} is running (started in ${seconds} s, data in ${config.DATA_DIR})`,
      running.otlpHttpPort && `  API        ${address(running.apiPort)}/api/v1`,
      running.otlpHttpPort && `  OTLP/HTTP  ${address(running.otlpHttpPort)}`,
      running.otlpGrpcPort && `  OTLP/gRPC  ${running.host}:${running.otlpGrpcPort}`,
      firstStart && `  Login      ${firstStart.email} / ${firstStart.password}   (shown once)`,
      firstStart && `  Ingest key ${firstStart.ingestKey}   (shown once)`,
      signInCode && `  Sign in    ${signIn}  (works once, for 15 minutes)`,
      running.otlpHttpPort && `  API docs   ${address(running.apiPort)}/docs`,
      `  Health     ${address(running.apiPort)}/health/ready`,
    ]
      .filter((line) => line)
      .join('\n'),
  );
}

async function stopAndExit(running: { stop(): Promise<void> }, dataDir: string): Promise<void> {
  forgetAddress(dataDir);
  setTimeout(() => {
    console.error(
      `Not stopped after ${MAX_STOP_MS / 1000} s; leaving. Acknowledged data is safe in the queue.`,
    );
    process.exit(1);
  }, MAX_STOP_MS).unref();
  await running.stop();
  process.exit(0);
}

async function main(): Promise<void> {
  const [command = 'start', ...args] = process.argv.slice(2);
  switch (command) {
    case 'start':
      return runServer();
    case 'config':
      return console.log(describeConfig());
    case 'verify-otlp':
      process.exitCode = await (await import('./verify/verify-otlp.js')).verifyOtlpCommand(args);
      return;
    case 'keys':
    case 'users':
      return (await import('./commands/access.js')).accessCommand(loadConfig(), command, args);
    case 'queues':
      return (await import('./commands/queues.js')).queuesCommand(loadConfig(), args);
    case 'alerts':
      return (await import('./commands/alerts.js')).alertsCommand(loadConfig(), args);
    case 'cleanup':
      return (await import('./commands/cleanup.js')).cleanupCommand(loadConfig(), args);
    case 'version':
    case '--version':
      return console.log(VERSION);
    case 'help':
    case '--help':
    case '-h':
      return console.log(USAGE);
    default:
      console.error(`Unknown command: ${command}\n\n${USAGE}`);
      process.exitCode = 2;
  }
}

main().catch((error: unknown) => {
  console.error(error instanceof StartupError ? error.message : error);
  process.exit(1);
});
