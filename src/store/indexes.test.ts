import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Table, TelemetryStore } from '../../test/support/telemetry-store.js';

const T0_MS = 1_767_225_600_000; // 2026-01-01T00:00:00Z
const T0 = BigInt(T0_MS) * 1_000_000n;
const ROWS = 100_000;

let store: TelemetryStore;

/** Rows over one day; what is rare is in one of them. Ids of the tenants say which granules are theirs. */
const TIME = `fromUnixTimestamp64Nano(toInt64(${T0}) + toInt64(number) * 800000000)`;
const COMMON = {
  organization_id: `if(number < 1000, 'other', 'org')`,
  workspace_id: `if(number < 1000, 'other', 'ws')`,
  tenant_id: `if(number < 1000, 'b', 'a')`,
  timestamp: TIME,
  service_name: `if(number = 30000, 'rare', concat('service-', toString(number % 7)))`,
  attributes: `map('user.id', if(number = 30000, 'rare-user', concat('user-', toString(number % 500))))`,
  attribute_types: `'s'`,
};
const SELECTS: Record<Table, Record<string, string>> = {
  telemetry_traces: {
    ...COMMON,
    trace_id: 'reinterpretAsFixedString(sipHash128(intDiv(number, 5)))',
    span_id: 'reinterpretAsFixedString(sipHash64(number))',
    parent_span_id: 'reinterpretAsFixedString(sipHash64(number + 1))',
    duration_nano: 'if(number = 30000, 9000000000, number)',
    span_kind: `if(number = 30000, 'PRODUCER', 'SERVER')`,
    status_code: `if(number = 30000, 'ERROR', 'OK')`,
  },
  telemetry_logs: {
    ...COMMON,
    trace_id: 'reinterpretAsFixedString(sipHash128(intDiv(number, 5)))',
    severity_number: 'if(number = 30000, 21, 9)',
    severity_text: `if(number = 30000, 'FATAL', 'INFO')`,
    body: `if(number = 30000, 'A Corrupted checksum', concat('order ', toString(number % 3000), ' paid'))`,
    body_type: `'s'`,
  },
  telemetry_metrics: {
    ...COMMON,
    metric_name: `if(number = 30000, 'rare.metric', if(number >= 80000, 'of.the.evening', concat('metric.', toString(number % 11))))`,
    metric_type: `if(number = 30000, 'summary', 'gauge')`,
    unit: `'1'`,
    value: 'if(number = 30000, 1e9, number % 100)',
    value_type: `'double'`,
  },
};

before(async () => {
  store = await TelemetryStore.open();
  for (const [table, columns] of Object.entries(SELECTS)) {
    // Small granules, so that there is something to leave out.
    await store.clickhouse.command(`ALTER TABLE ${table} MODIFY SETTING min_rows_for_wide_part = 0`);
    const select = `SELECT ${Object.values(columns).join(', ')} FROM numbers(${ROWS})`;
    await store.insertSelect(table as Table, Object.keys(columns).join(', '), select);
    await store.clickhouse.command(`OPTIMIZE TABLE ${table} FINAL`);
  }
});
after(() => store.close());

const ID = 'reinterpretAsFixedString(sipHash128(toUInt64(6000)))';

/** Every index that the specification names: on which tables, and the question it is for. */
const QUESTIONS: Record<string, Partial<Record<'traces' | 'logs' | 'metrics', string>>> = {
  idx_organization_id: everywhere(`organization_id = 'nobody'`),
  idx_workspace_id: everywhere(`workspace_id = 'nobody'`),
  idx_tenant_id: everywhere(`tenant_id = 'nobody'`),
  idx_service_name: everywhere(`service_name = 'rare'`),
  idx_attributes_bloom: everywhere(`attributes['user.id'] IN ['rare-user']`),
  idx_timestamp: everywhere(
    `timestamp > fromUnixTimestamp64Nano(toInt64(${T0}) + toInt64(99000) * 800000000)`,
  ),
  idx_trace_id_bloom: { traces: `trace_id = ${ID}`, logs: `trace_id = ${ID}` },
  idx_span_id_bloom: { traces: 'span_id = reinterpretAsFixedString(sipHash64(toUInt64(30000)))' },
  idx_parent_span_id_bloom: {
    traces: 'parent_span_id = reinterpretAsFixedString(sipHash64(toUInt64(30001)))',
  },
  idx_duration_minmax: { traces: 'duration_nano > 8000000000' },
  idx_span_kind_set: { traces: `span_kind = 'PRODUCER'` },
  idx_status_code_set: { traces: `status_code = 'ERROR'` },
  idx_body_bloom: { logs: `hasToken(lower(body), 'corrupted')` },
  idx_severity_number_minmax: { logs: 'severity_number >= 17' },
  idx_severity_set: { logs: `severity_text = 'FATAL'` },
  idx_metric_name: { metrics: `metric_name = 'rare.metric'` },
  idx_metric_type_set: { metrics: `metric_type = 'summary'` },
  idx_value_minmax: { metrics: 'value > 1e6' },
};

function everywhere(question: string) {
  return { traces: question, logs: question, metrics: question };
}

describe('Indexes', () => {
  for (const [name, tables] of Object.entries(QUESTIONS)) {
    for (const [signal, question] of Object.entries(tables)) {
      it(`${name} on ${signal} leaves granules out for the question it is for`, async () => {
        const { rows } = await store.clickhouse.read<{ explain: string }>(
          `EXPLAIN indexes = 1 SELECT count() FROM telemetry_${signal} WHERE ${question}`,
          {},
          // Without the primary key, which leaves nothing for the indexes on its columns to do.
          {
            settings: { use_skip_indexes_on_data_read: 0, use_query_condition_cache: 0, use_primary_key: 0 },
          },
        );
        const lines = rows.map(({ explain }) => explain.trim());
        const at = lines.indexOf(`Name: ${name}`);
        assert.ok(at > 0, `${name} is not used:\n${lines.join('\n')}`);
        const granules = lines.slice(at).find((line) => line.startsWith('Granules:'))!;
        const [, kept, of] = /^Granules: (\d+)\/(\d+)/.exec(granules)!.map(Number);
        assert.ok(of > 0 && kept < of, `${name}: ${granules}`);
      });
    }
  }
});
