import { type Attributes, decodeAttributes } from './values.js';

/** Who sent a row: OTLP's Resource. */
export interface Resource extends Attributes {
  dropped_attributes_count: number;
  schema_url: string;
}

/** Which library made a row: OTLP's InstrumentationScope. */
export interface InstrumentationScope extends Attributes {
  name: string;
  version: string;
  dropped_attributes_count: number;
  schema_url: string;
}

/** The columns that say who sent a row; part of what makes it differ from another. */
export const ORIGIN_IDENTITY = `resource_attributes, resource_attribute_types, resource_dropped_attributes_count, resource_schema_url,
  scope_name, scope_version, scope_attributes,
  scope_attribute_types, scope_dropped_attributes_count, scope_schema_url`;

export const ORIGIN_COLUMNS = `mapKeys(resource_attributes) AS resource_keys, mapValues(resource_attributes) AS resource_values,
  resource_attribute_types, resource_dropped_attributes_count, resource_schema_url,
  scope_name, scope_version, mapKeys(scope_attributes) AS scope_keys, mapValues(scope_attributes) AS scope_values,
  scope_attribute_types, scope_dropped_attributes_count, scope_schema_url`;

export interface OriginRow {
  resource_keys: string[];
  resource_values: string[];
  resource_attribute_types: string;
  resource_dropped_attributes_count: number;
  resource_schema_url: string;
  scope_name: string;
  scope_version: string;
  scope_keys: string[];
  scope_values: string[];
  scope_attribute_types: string;
  scope_dropped_attributes_count: number;
  scope_schema_url: string;
}

export interface Origin {
  resource: Resource;
  scope: InstrumentationScope;
}

export function originOf(row: OriginRow): Origin {
  return {
    resource: {
      ...decodeAttributes(row.resource_keys, row.resource_values, row.resource_attribute_types),
      dropped_attributes_count: row.resource_dropped_attributes_count,
      schema_url: row.resource_schema_url,
    },
    scope: {
      name: row.scope_name,
      version: row.scope_version,
      ...decodeAttributes(row.scope_keys, row.scope_values, row.scope_attribute_types),
      dropped_attributes_count: row.scope_dropped_attributes_count,
      schema_url: row.scope_schema_url,
    },
  };
}
