import { mkdirSync } from 'node:fs';
import { openPostgres } from '../../src/connections/postgres.js';

/** The process that postgres.test.ts kills: commits row after row and prints a line for each. */
const dataDir = process.argv[2];
mkdirSync(dataDir, { recursive: true });
const postgres = await openPostgres({ DATA_DIR: dataDir, DATABASE_URL: undefined });
await postgres.query('CREATE TABLE IF NOT EXISTS commits (n serial)');
for (;;) {
  await postgres.query('INSERT INTO commits DEFAULT VALUES');
  process.stdout.write('committed\n');
}
