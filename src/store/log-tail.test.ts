import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { Random } from '../../test/support/seed.js';
import { at, str, TENANT_A, TENANT_B, TelemetryStore } from '../../test/support/telemetry-store.js';
import { LogTail, MAX_BEHIND_SECONDS, type Tailed } from './log-tail.js';

const NOW_S = 1_750_000_000;
const NOW_MS = NOW_S * 1000;
const NS = 1_000_000_000n;
const EVERYTHING = { terms: [], services: [], severities: [], attributes: [] };

describe('A tail of the log', () => {
  let store: TelemetryStore;
  before(async () => {
    store = await TelemetryStore.open();
  });
  after(() => store.close());
  afterEach(() => store.clickhouse.command('TRUNCATE TABLE telemetry_logs'));

  const tailFrom = (second: number, question: Partial<typeof EVERYTHING> = {}) =>
    new LogTail(TENANT_A, store.clickhouse, { ...EVERYTHING, ...question }, BigInt(second) * NS);
  /** One record per text; `second` may have a fraction. */
  const arrive = (records: [second: number, text: string][], scope = TENANT_A) =>
    store.insert(
      'telemetry_logs',
      scope,
      records.map(([second, text]) => ({
        timestamp: at(BigInt(Math.round(second * 1e9))),
        service_name: str('shop'),
        body: str(text),
        body_type: str('s'),
      })),
    );
  const texts = ({ records }: Tailed) => records.map(({ record }) => record.body);

  it('gives each record once, as it comes, late ones and those ahead of the clock too', async () => {
    const tail = tailFrom(NOW_S - 10);
    await arrive([
      [NOW_S - 11, 'before'],
      [NOW_S - 9, 'a'],
      [NOW_S - 5, 'b'],
    ]);
    assert.deepEqual(texts(await tail.poll(NOW_MS)), ['a', 'b']);
    assert.deepEqual(texts(await tail.poll(NOW_MS)), []);
    await arrive([
      [NOW_S - 9.5, 'late'],
      [NOW_S + 600, 'ahead'],
      [NOW_S - 5, 'same time'],
      [NOW_S - 1, 'c'],
    ]);
    assert.deepEqual(texts(await tail.poll(NOW_MS + 1000)), ['late', 'same time', 'c', 'ahead']);
    assert.deepEqual(texts(await tail.poll(NOW_MS + 2000)), []);
    await arrive([[NOW_S - 9, 'others']], TENANT_B);
    assert.deepEqual(texts(await tail.poll(NOW_MS + 2000)), []);
  });

  it('gives copies of a record as often as there are', async () => {
    const tail = tailFrom(NOW_S - 10);
    await arrive([[NOW_S, 'twice']]);
    await arrive([[NOW_S, 'twice']]);
    assert.deepEqual(texts(await tail.poll(NOW_MS)), ['twice', 'twice']);
    await arrive([[NOW_S, 'twice']]);
    assert.deepEqual(texts(await tail.poll(NOW_MS)), ['twice']);
  });

  it('keeps to its question', async () => {
    const tail = tailFrom(NOW_S - 10, { terms: [{ text: 'PAY', negated: false }] as never[] });
    await arrive([
      [NOW_S, 'payment'],
      [NOW_S, 'shipment'],
    ]);
    assert.deepEqual(texts(await tail.poll(NOW_MS)), ['payment']);
  });

  it('comes to the end of more than it gives at once, in order', async () => {
    const total = 1700;
    const columns = 'organization_id, workspace_id, tenant_id, timestamp, service_name, body, body_type';
    await store.insertSelect(
      'telemetry_logs',
      columns,
      `SELECT 'org', 'ws', 'a', ${at(BigInt(NOW_S - 100) * NS)} + toIntervalMillisecond(intDiv(number, 3) * 100), 'shop',
       toString(number), 's' FROM numbers(${total})`,
    );
    const tail = tailFrom(NOW_S - 100);
    const given: Tailed[] = [];
    do given.push(await tail.poll(NOW_MS));
    while (given[given.length - 1].more);
    const records = given.flatMap(({ records }) => records);
    assert.equal(new Set(records.map(({ record }) => record.body)).size, total);
    assert.deepEqual(
      records.map(({ sequence }) => sequence),
      Array.from({ length: total }, (_, n) => n + 1),
    );
    assert.ok(given.every(({ records }) => records.length <= 500));
    const times = records.map(({ record }) => record.time_unix_nano);
    assert.deepEqual(times, [...times].sort());
  });

  it('gives again what did not reach its caller, and only that', async () => {
    const tail = tailFrom(NOW_S - 10);
    await arrive(['a', 'b', 'c', 'd'].map((text, n) => [NOW_S - 4 + n / 2, text]));
    assert.deepEqual(texts(await tail.poll(NOW_MS)), ['a', 'b', 'c', 'd']);
    await arrive([[NOW_S - 8, 'late']]);
    assert.equal(tail.rewind(2), true);
    assert.deepEqual(texts(await tail.poll(NOW_MS + 5000)), ['late', 'c', 'd']);
  });

  it('says what it leaves out: too much in one second, and what is more than an hour behind', async () => {
    const columns = 'organization_id, workspace_id, tenant_id, timestamp, service_name, body';
    await store.insertSelect(
      'telemetry_logs',
      columns,
      `SELECT 'org', 'ws', 'a', ${at(BigInt(NOW_S) * NS)}, 'shop', toString(number) FROM numbers(10001)`,
    );
    await arrive([[NOW_S + 1, 'next']]);
    const tail = tailFrom(NOW_S - 10);
    const first = await tail.poll(NOW_MS);
    assert.deepEqual(texts(first), ['next']);
    assert.match(first.gaps[0].reason, /10001 records of one second/);
    assert.deepEqual((await tail.poll(NOW_MS)).gaps, []);
    const [gap] = (await tail.poll(NOW_MS + 2 * MAX_BEHIND_SECONDS * 1000)).gaps;
    assert.match(gap.reason, /more than an hour behind/);
  });

  it('whatever comes whenever, within a minute of its own time, is given once', async () => {
    const random = Random.announced('log tail');
    const tail = tailFrom(NOW_S);
    const sent: string[] = [];
    const given: string[] = [];
    for (let second = 0; second < 120; second += 3) {
      const arriving = Array.from({ length: random.below(8) }, (_, n): [number, string] => {
        const text = `${second} ${n}`;
        return [NOW_S + Math.max(0, second - random.below(58)) + random.below(1000) / 1000, text];
      });
      sent.push(...arriving.map(([, text]) => text));
      if (arriving.length > 0) await arrive(arriving);
      const polled = await tail.poll(NOW_MS + second * 1000);
      given.push(...texts(polled).map(String));
      // Some callers break off and come back with the last record that they got.
      const last = polled.records[random.below(polled.records.length || 1)];
      if (last && random.below(3) === 0) {
        given.splice(given.length - (polled.records.length - 1 - polled.records.indexOf(last)));
        assert.ok(tail.rewind(last.sequence));
      }
    }
    for (let more = true; more; ) {
      const polled = await tail.poll(NOW_MS + 120_000);
      given.push(...texts(polled).map(String));
      more = polled.records.length > 0;
    }
    assert.deepEqual(given.sort(), sent.sort());
  });
});
