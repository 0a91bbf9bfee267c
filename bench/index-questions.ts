import type { Signal } from '../src/signal.js';

/** One index and the question it is for. */
export interface IndexQuestion {
  index: string;
  signal: Signal;
  /** A condition beside the tenant's. */
  where: string;
  /** The question is asked without naming a tenant. */
  isOverTenants?: true;
}

const TRACE = 'reinterpretAsFixedString(sipHash128(toUInt64(12345), 7))';
const SPAN = 'reinterpretAsFixedString(sipHash64(toUInt64(98760), 8))';
const LAST_DAY = 'timestamp >= toDateTime64(today() - 1, 9)';
const ALL = ['traces', 'logs', 'metrics'] as const;
const everywhere = (index: string, where: string, isOverTenants?: true): IndexQuestion[] =>
  ALL.map((signal) => ({ index, signal, where, ...(isOverTenants ? { isOverTenants } : {}) }));

export const QUESTIONS: IndexQuestion[] = [
  ...everywhere('idx_organization_id', `organization_id = 'org-initech'`, true),
  ...everywhere('idx_workspace_id', `workspace_id = 'staging'`, true),
  ...everywhere('idx_tenant_id', `tenant_id = 'initech'`, true),
  ...everywhere('idx_service_name', `service_name = 'ledger'`),
  ...everywhere(
    'idx_timestamp',
    `${LAST_DAY} AND timestamp < toDateTime64(today() - 1, 9) + INTERVAL 1 HOUR`,
  ),
  { index: 'idx_attributes_bloom', signal: 'traces', where: `attributes['user.id'] = 'user-777'` },
  { index: 'idx_attributes_bloom', signal: 'logs', where: `attributes['user.id'] = 'user-777'` },
  { index: 'idx_attributes_bloom', signal: 'metrics', where: `attributes['http.route'] = '/ledger'` },
  { index: 'idx_trace_id_bloom', signal: 'traces', where: `trace_id = ${TRACE}` },
  { index: 'idx_trace_id_bloom', signal: 'logs', where: `trace_id = ${TRACE}` },
  { index: 'idx_span_id_bloom', signal: 'traces', where: `span_id = ${SPAN}` },
  { index: 'idx_parent_span_id_bloom', signal: 'traces', where: `parent_span_id = ${SPAN}` },
  { index: 'idx_duration_minmax', signal: 'traces', where: 'duration_nano > 20000000000' },
  { index: 'idx_span_kind_set', signal: 'traces', where: `span_kind = 'PRODUCER'` },
  { index: 'idx_status_code_set', signal: 'traces', where: `status_code = 'ERROR'` },
  { index: 'idx_body_bloom', signal: 'logs', where: `hasToken(lower(body), 'corrupted')` },
  { index: 'idx_severity_number_minmax', signal: 'logs', where: 'severity_number >= 21' },
  { index: 'idx_severity_set', signal: 'logs', where: `severity_text = 'FATAL'` },
  { index: 'idx_metric_name', signal: 'metrics', where: `metric_name = 'jvm.usage'` },
  { index: 'idx_metric_type_set', signal: 'metrics', where: `metric_type = 'histogram'` },
  { index: 'idx_value_minmax', signal: 'metrics', where: 'value > 1e11' },
];

/** The other type that an index could have, or the seed's where the table has a better one. */
export interface Alternative {
  signal: Signal;
  definition: string;
  where: string;
}

const ITEMS = `arrayMap((k, v) -> concat(k, '=', v), mapKeys(attributes), mapValues(attributes))`;
const ITEM = `has(${ITEMS}, 'user.id=user-777')`;
const VALUE = `attributes['user.id'] = 'user-777'`;

export const ALTERNATIVES: Alternative[] = [
  {
    signal: 'traces',
    definition: 'trace_id TYPE bloom_filter(0.01) GRANULARITY 1',
    where: `trace_id = ${TRACE}`,
  },
  { signal: 'traces', definition: `trace_id TYPE text(tokenizer = 'array')`, where: `trace_id = ${TRACE}` },
  {
    signal: 'traces',
    definition: 'mapValues(attributes) TYPE bloom_filter(0.01) GRANULARITY 1',
    where: VALUE,
  },
  { signal: 'traces', definition: `${ITEMS} TYPE bloom_filter(0.01) GRANULARITY 1`, where: ITEM },
  { signal: 'traces', definition: `mapValues(attributes) TYPE text(tokenizer = 'array')`, where: VALUE },
  { signal: 'traces', definition: `${ITEMS} TYPE text(tokenizer = 'array')`, where: ITEM },
  {
    signal: 'traces',
    definition: `mapKeys(attributes) TYPE text(tokenizer = 'array')`,
    where: `mapContains(attributes, 'no.such.key')`,
  },
  {
    signal: 'logs',
    definition: `lower(body) TYPE text(tokenizer = 'splitByNonAlpha')`,
    where: `hasToken(lower(body), 'corrupted')`,
  },
  {
    signal: 'logs',
    definition: 'lower(body) TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 1',
    where: `hasToken(lower(body), 'corrupted')`,
  },
];
