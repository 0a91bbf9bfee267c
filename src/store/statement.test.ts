import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { at, str, TENANT_A, TelemetryStore } from '../../test/support/telemetry-store.js';
import { loadConfig } from '../config.js';
import { openClickHouse } from '../connections/clickhouse.js';
import { AppError, type ErrorCode } from '../errors.js';
import { Asking, Where } from './statement.js';

let store: TelemetryStore;

const coded = (code: ErrorCode) => (error: unknown) => error instanceof AppError && error.code === code;
const HUGE = 'SELECT count() FROM numbers(1000000000000) WHERE cityHash64(number) = 1';
/** Few rows, much work. */
const LONG = `SELECT count() FROM numbers(900000000) WHERE sipHash64(repeat(toString(number), 20)) = 1`;

describe('A statement', () => {
  before(async () => {
    store = await TelemetryStore.open();
    await store.insert('telemetry_logs', TENANT_A, [{ timestamp: at(1n), body: str('x') }]);
  });
  after(() => store.close());

  it('that takes too long ends as QUERY_TOO_EXPENSIVE, with what to narrow', async () => {
    await assert.rejects(
      () => new Asking(store.clickhouse).rows(LONG, new Where(TENANT_A), 0.5),
      (error) =>
        coded('QUERY_TOO_EXPENSIVE')(error) && /Narrow the time range/.test((error as Error).message),
    );
  });

  it('that would read too many rows is not begun', async () => {
    await assert.rejects(
      () => new Asking(store.clickhouse).rows(HUGE, new Where(TENANT_A)),
      (error) => coded('QUERY_TOO_EXPENSIVE')(error) && /too many rows/.test((error as Error).message),
    );
  });

  it('is stopped when its caller hangs up', async () => {
    const controller = new AbortController();
    const asking = new Asking(store.clickhouse, controller.signal);
    const started = performance.now();
    setTimeout(() => controller.abort(), 100);
    await assert.rejects(() => asking.rows(LONG, new Where(TENANT_A)), coded('REQUEST_TIMEOUT'));
    assert.ok(performance.now() - started < 5000);
  });

  it('to a server that is away ends as UNAVAILABLE', async () => {
    const away = await openClickHouse(loadConfig({ CLICKHOUSE_URL: 'http://127.0.0.1:1' }));
    await assert.rejects(() => new Asking(away).rows('SELECT 1', new Where(TENANT_A)), coded('UNAVAILABLE'));
    await away.close();
  });

  it('that is wrong stays the error it is: it is our mistake, not the caller’s', async () => {
    await assert.rejects(
      () => new Asking(store.clickhouse).rows('SELECT nonsense', new Where(TENANT_A)),
      (error) => !(error instanceof AppError),
    );
  });

  it('adds its cost to the answer', async () => {
    const asking = new Asking(store.clickhouse);
    const where = new Where(TENANT_A).within({ fromNs: 0n, toNs: 2n });
    for (let i = 0; i < 2; i++) await asking.rows(`SELECT body FROM telemetry_logs WHERE ${where}`, where);
    assert.equal(asking.cost.rowsRead, 2);
    assert.ok(asking.cost.bytesRead > 0 && asking.cost.elapsedMs > 0);
  });
});

describe('The WHERE of a question', () => {
  it('begins with the scope, and holds no value, only parameters', () => {
    const hostile = { organizationId: `o' OR 1`, workspaceId: 'w', tenantId: '{p0:String}' };
    const where = new Where(hostile).within({ fromNs: 5n, toNs: 7n });
    assert.equal(
      String(where),
      'organization_id = {p0:String} AND workspace_id = {p1:String} AND tenant_id = {p2:String}' +
        ' AND timestamp >= {p3:String} AND timestamp < {p4:String}',
    );
    assert.deepEqual(where.params, {
      p0: `o' OR 1`,
      p1: 'w',
      p2: '{p0:String}',
      p3: '1970-01-01 00:00:00.000000005',
      p4: '1970-01-01 00:00:00.000000007',
    });
  });
});
