import type { Signal } from '../src/signal.js';

/** The schema, with a change. */
export interface Variant {
  name: string;
  /** Migrations up to this one only. */
  upTo?: number;
  /** After the migrations. */
  statements?: string[];
}

const VIEWS: Record<Signal, string[]> = {
  traces: ['trace_steps_of_spans', 'mv_service_list_of_spans'],
  logs: ['mv_service_list_of_logs'],
  metrics: ['mv_service_list_of_points', 'mv_metric_list_of_points'],
};
const INDEXES: Record<Signal, string[]> = {
  traces: [
    'idx_service_name',
    'idx_trace_id_bloom',
    'idx_span_id_bloom',
    'idx_parent_span_id_bloom',
    'idx_attributes_bloom',
  ],
  logs: ['idx_service_name', 'idx_trace_id_bloom', 'idx_attributes_bloom', 'idx_body_bloom'],
  metrics: ['idx_service_name', 'idx_metric_name', 'idx_attributes_bloom'],
};
const IDS = ['idx_organization_id', 'idx_workspace_id', 'idx_tenant_id', 'idx_timestamp'];
const OTHERS: Record<Signal, string[]> = {
  traces: ['idx_duration_minmax', 'idx_span_kind_set', 'idx_status_code_set'],
  logs: ['idx_severity_number_minmax', 'idx_severity_set'],
  metrics: ['idx_value_minmax', 'idx_metric_type_set'],
};

const LISTS: Record<Signal, string[]> = {
  traces: ['mv_service_list', 'trace_steps'],
  logs: ['mv_service_list'],
  metrics: ['mv_service_list', 'mv_metric_list'],
};

function textIndex(name: string, definition: string): Variant {
  const table = 'ALTER TABLE telemetry_logs';
  return {
    name,
    statements: [`${table} DROP INDEX idx_body_bloom`, `${table} ADD INDEX idx_body_bloom ${definition}`],
  };
}

const TEXT_INDEXES: Variant[] = [
  textIndex('text: as it is', `lower(body) TYPE text(tokenizer = 'splitByNonAlpha')`),
  textIndex(
    'text: body, preprocessor',
    `body TYPE text(tokenizer = 'splitByNonAlpha', preprocessor = lower(body))`,
  ),
  textIndex(
    'text: bitpacking',
    `lower(body) TYPE text(tokenizer = 'splitByNonAlpha', posting_list_codec = 'bitpacking')`,
  ),
  textIndex(
    'text: dictionary blocks of 4096',
    `lower(body) TYPE text(tokenizer = 'splitByNonAlpha', dictionary_block_size = 4096)`,
  ),
  textIndex(
    'text: no front coding',
    `lower(body) TYPE text(tokenizer = 'splitByNonAlpha', dictionary_block_frontcoding_compression = 0)`,
  ),
  textIndex('tokenbf_v1', `lower(body) TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 1`),
];

/** What is measured of a signal. */
export function variantsOf(signal: Signal): Variant[] {
  const table = `telemetry_${signal}`;
  const drop = (index: string) => `ALTER TABLE ${table} DROP INDEX ${index}`;
  const views = VIEWS[signal].map((view) => `DROP VIEW IF EXISTS ${view}`);
  const all = [...IDS, ...INDEXES[signal], ...OTHERS[signal]].map(drop);
  return [
    { name: 'tables alone (001)', upTo: 1 },
    { name: 'all' },
    ...VIEWS[signal].map((view, at) => ({ name: `without ${view}`, statements: [views[at]] })),
    { name: 'without views', statements: views },
    { name: 'without indexes', statements: all },
    { name: 'without views and indexes', statements: [...views, ...all] },
    { name: 'without ids and time indexes', statements: IDS.map(drop) },
    { name: 'without min-max and set indexes', statements: OTHERS[signal].map(drop) },
    {
      name: 'lists not synced',
      statements: LISTS[signal].map(
        (list) => `ALTER TABLE ${list} MODIFY SETTING fsync_after_insert = 0, fsync_part_directory = 0`,
      ),
    },
    {
      name: 'lists without tokens',
      statements: LISTS[signal].map(
        (list) => `ALTER TABLE ${list} MODIFY SETTING non_replicated_deduplication_window = 0`,
      ),
    },
    {
      name: 'packed indexes',
      statements: [`ALTER TABLE ${table} MODIFY SETTING packed_skip_index_max_bytes = 65536`],
    },
    ...(signal === 'logs' ? TEXT_INDEXES : []),
    ...INDEXES[signal].map((index) => ({ name: `without ${index}`, statements: [drop(index)] })),
  ];
}
