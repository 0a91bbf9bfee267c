import 'reflect-metadata';
import { join } from 'node:path';
import { Session } from 'chdb';
import { loadConfig } from '../src/config.js';
import { start } from '../src/main.js';

/*
 * The program, as `telemetryflow start` runs it, and beside it a session of the engine that the benchmark gives statements to: caches can be
 * dropped within the process alone. Started by `fork`, settings from the environment.
 */
const config = loadConfig();
const running = await start(config);
const admin = new Session(join(config.DATA_DIR, 'clickhouse'));
admin.query(`USE ${config.CLICKHOUSE_DATABASE}`);

/** What the benchmark asks for. */
export type ToQueryServer = { id: number; sql: string } | 'stop';

process.on('message', async (message: ToQueryServer) => {
  if (message === 'stop') {
    admin.close();
    await running.stop();
    process.exit(0);
  }
  try {
    const answer = await admin.queryAsync(message.sql, { format: 'JSONEachRow' });
    const rows = answer.text().split('\n').filter(Boolean);
    process.send!({ id: message.id, rows: rows.map((line) => JSON.parse(line)) });
  } catch (error) {
    process.send!({ id: message.id, error: (error as Error).message });
  }
});
process.on('disconnect', () => process.exit(1));
const address = (port: number) => `http://${running.host}:${port}`;
process.send!({ api: address(running.apiPort), otlp: address(running.otlpHttpPort!) });
