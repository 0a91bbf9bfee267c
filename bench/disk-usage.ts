import { join } from 'node:path';
import { Session } from 'chdb';

/* Prints a table of rows and bytes of a stopped server's data folder. */
const session = new Session(join(process.argv[2], 'clickhouse'));
const answer = await session.queryAsync(
  `SELECT table, sum(rows) AS rows, sum(bytes_on_disk) AS bytes, count() AS parts
   FROM system.parts WHERE active AND table LIKE 'telemetry_%' GROUP BY table ORDER BY table`,
  { format: 'JSONEachRow' },
);
console.log('| table | rows | bytes per row | parts |\n|---|---|---|---|');
for (const line of answer.text().trim().split('\n').filter(Boolean)) {
  const { table, rows, bytes, parts } = JSON.parse(line) as Record<string, string>;
  console.log(`| ${table} | ${rows} | ${(Number(bytes) / Number(rows)).toFixed(1)} | ${parts} |`);
}
process.exit(0);
