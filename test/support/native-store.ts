import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Session } from 'chdb';
import type { NativeBlock } from '../../src/native/native-block.js';
import type { Signal } from '../../src/signal.js';
import { splitStatements } from '../../src/sql/sql-text.js';

/** A row as read back: 64-bit integers and times as decimal text, ids in hex, doubles as their 64 bits in hex. */
export type StoredRow = Record<string, unknown>;

const SETTINGS =
  'max_threads=1, max_insert_threads=1, min_insert_block_size_rows=10000000, min_insert_block_size_bytes=0';

/** Type -> SQL that makes an exact JSON value of `x`. */
function exact(type: string, x: string): string {
  const array = /^Array\((.*)\)$/.exec(type);
  if (array) return `arrayMap(x -> ${exact(array[1], 'x')}, ${x})`;
  if (type.startsWith('Nullable'))
    return `if(isNull(${x}), NULL, hex(reinterpretAsUInt64(assumeNotNull(${x}))))`;
  if (type.startsWith('DateTime64')) return `toString(reinterpretAsUInt64(${x}))`;
  if (type.startsWith('Float64')) return `hex(reinterpretAsUInt64(${x}))`;
  if (type.startsWith('FixedString')) return `hex(${x})`;
  if (type.startsWith('Map')) return `CAST(${x}, 'Array(Tuple(String, String))')`;
  return type === 'Int64' || type === 'UInt64' ? `toString(${x})` : x;
}

/** The real engine with the telemetry tables in a directory of its own; blocks go in as the program puts them in. */
export class NativeStore {
  private readonly directory = mkdtempSync(join(tmpdir(), 'telemetryflow-native-'));
  private readonly session = new Session(join(this.directory, 'clickhouse'));
  private readonly selects = new Map<Signal, string>();

  static async open(migrations: string): Promise<NativeStore> {
    const store = new NativeStore();
    for (const file of readdirSync(migrations).sort()) {
      for (const statement of splitStatements(readFileSync(join(migrations, file), 'utf8'))) {
        await store.session.queryAsync(statement);
      }
    }
    return store;
  }

  async query<T>(sql: string): Promise<T[]> {
    const result = await this.session.queryAsync(sql, { format: 'JSONEachRow' });
    return result
      .text()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as T);
  }

  async insert(signal: Signal, block: NativeBlock): Promise<void> {
    if (block.rows === 0) return;
    const file = join(this.directory, 'block.native');
    writeFileSync(file, Buffer.concat(block.chunks));
    const columns = block.columns.map((name) => `\`${name}\``).join(', ');
    await this.session.queryAsync(
      `INSERT INTO telemetry_${signal} (organization_id, workspace_id, tenant_id, ${columns})
       SELECT 'o', 'w', 't', ${columns} FROM file('${file}', Native, '${block.structure}') SETTINGS ${SETTINGS}`,
    );
  }

  /** All rows of a signal's table, in the order of their times, which are to differ; then the table is emptied. */
  async take(signal: Signal): Promise<StoredRow[]> {
    let select = this.selects.get(signal);
    if (select === undefined) {
      const columns = await this.query<{ name: string; type: string }>(
        `SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = 'telemetry_${signal}'
         AND default_kind = '' AND name NOT IN ('organization_id', 'workspace_id', 'tenant_id')`,
      );
      const fields = columns.map(({ name, type }) => `${exact(type, `t.\`${name}\``)} AS \`${name}\``);
      select = `SELECT ${fields.join(', ')} FROM telemetry_${signal} AS t ORDER BY t.timestamp`;
      this.selects.set(signal, select);
    }
    const rows = await this.query<StoredRow>(select);
    await this.session.queryAsync(`TRUNCATE TABLE telemetry_${signal}`);
    return rows;
  }

  close(): void {
    this.session.cleanup();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
