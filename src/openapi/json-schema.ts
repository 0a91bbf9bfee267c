import { z } from 'zod';

export type JsonSchema = Record<string, unknown>;

/**
 * A zod schema as the document writes it.
 *
 * @param io `input` for what clients send, `output` for what they get
 * @throws Error when it refers to itself, or has parts with an id: the document holds schemas in place only
 */
export function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): JsonSchema {
  const { $schema: _, ...json } = z.toJSONSchema(schema, { io, unrepresentable: 'any', override: tidy });
  if (JSON.stringify(json).includes('"$ref":'))
    throw new Error('A schema of a route refers to itself or has parts with an id.');
  return json;
}

/** That a number fits into 53 bits is not worth a line. */
function tidy({ jsonSchema: json }: { jsonSchema: z.core.JSONSchema.BaseSchema }): void {
  if (json.minimum === Number.MIN_SAFE_INTEGER) delete json.minimum;
  if (json.maximum === Number.MAX_SAFE_INTEGER) delete json.maximum;
}
