import { join } from 'node:path';
import { ClickHouse } from '../../src/connections/clickhouse.js';
import { EmbeddedDriver } from '../../src/connections/clickhouse-embedded.js';

/**
 * The process that clickhouse-embedded.test.ts kills: inserts the same block again and again, under the tokens
 * `from`, `from + 1`, …, each twice, and prints a line per block. With `count` it prints rows and blocks instead.
 */
const [folder, from] = process.argv.slice(2);
const driver = await EmbeddedDriver.open({
  DATA_DIR: folder,
  CLICKHOUSE_DATABASE: 'kill',
  MEMORY_LIMIT: 1024 ** 3,
  threadPoolSize: 4,
});
const clickhouse = new ClickHouse(driver, 'kill');
if (from === 'count') {
  const sql = 'SELECT count() AS n, uniqExact(token) AS tokens FROM blocks';
  const { rows } = await clickhouse.read<{ n: string; tokens: string }>(sql);
  process.stdout.write(`${rows[0].n} ${rows[0].tokens}`);
  await clickhouse.close();
} else {
  await clickhouse.command(`CREATE TABLE IF NOT EXISTS blocks (token String, n UInt64, s String)
    ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 1000`);
  for (let token = Number(from); ; token++) {
    for (const _ of ['first', 'again']) {
      await clickhouse.insertNative({
        table: 'blocks',
        constants: { token: String(token) },
        columns: ['n', 's'],
        structure: 'n UInt64, s String',
        file: join(folder, 'block.native'),
        deduplicationToken: String(token),
      });
    }
    process.stdout.write('stored\n');
  }
}
