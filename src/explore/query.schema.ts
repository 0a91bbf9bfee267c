import { z } from 'zod';
import { AppError } from '../errors.js';
import type { AttributeFilter } from '../store/statement.js';
import { parseTime, TIME_ALLOWED } from './time.js';

/** What Fastify makes of a query string: a name given twice becomes a list. */
export type RawQuery = Record<string, string | string[]>;

const MAX_LIMIT = 1000;
const MAX_TEXT = 8192;

/**
 * A check that names what is allowed; the message becomes `allowed` in the error's details, and the parameter's description.
 *
 * @param json what JSON Schema can say of it beside that it is a string
 */
export function text<T>(parse: (text: string) => T | undefined, allowed: string, json: JsonSchema = {}) {
  return z
    .string({ error: `${allowed}, once` })
    .transform((given, context) => {
      const value = parse(given);
      if (value !== undefined) return value;
      context.addIssue({ code: 'custom', message: allowed });
      return z.NEVER;
    })
    .meta({ description: allowed, ...json });
}

type JsonSchema = Pick<
  z.core.JSONSchema.BaseSchema,
  'type' | 'enum' | 'pattern' | 'minimum' | 'maximum' | 'maxLength'
>;

/** The same check, its description led by what the parameter is for. */
export const about = <T extends z.ZodType>(meaning: string, schema: T): T =>
  schema.describe(`${meaning}: ${schema.description}`);

export const plain = text(
  (given) => (given.length <= MAX_TEXT ? given : undefined),
  `text, ${MAX_TEXT} characters at most`,
  { maxLength: MAX_TEXT },
);
export const name = text((given) => (given !== '' ? given : undefined), 'a name');
export const names = text((given) => {
  const list = given.split(',').map((item) => item.trim());
  return list.every((item) => item !== '') ? list : undefined;
}, 'a comma-separated list');

export const integer = (min: number, max: number) =>
  text(
    (given) => {
      const value = Number(given);
      return /^\d{1,15}$/.test(given) && value >= min && value <= max ? value : undefined;
    },
    `a whole number from ${min} to ${max}`,
    { type: 'integer', minimum: min, maximum: max },
  );

export const milliseconds = text(
  (given) => {
    const value = Number(given);
    return /^\d+(\.\d+)?$/.test(given) && value <= 9e12 ? value : undefined;
  },
  'milliseconds, e.g. 250 or 0.5',
  { type: 'number', minimum: 0, maximum: 9e12 },
);

/** A comma-separated list of known words in any case, as upper case. */
export function words(known: readonly string[]) {
  const allowed = known.map((word) => word.toLowerCase()).join(', ');
  return text((given) => {
    const list = given.split(',').map((word) => word.trim().toUpperCase());
    return list.every((word) => known.includes(word)) ? list : undefined;
  }, `one or more of ${allowed}`);
}

export function oneOf<const T extends string>(...known: T[]) {
  return text((given) => known.find((word) => word === given), known.join(' or '), { enum: known });
}

/** An id of so many bytes as hex in either case. */
export const hexId = (bytes: number) =>
  text(
    (given) => (new RegExp(`^[0-9a-f]{${bytes * 2}}$`, 'i').test(given) ? given.toLowerCase() : undefined),
    `${bytes * 2} hex digits`,
    { pattern: `^[0-9a-fA-F]{${bytes * 2}}$` },
  );

const time = text(parseTime, TIME_ALLOWED);

/** The time range of every question: [from, to), the last hour when missing. */
export const timeFields = {
  from: about('Begin of the time range, an hour before its end unless given', time).optional(),
  to: about('End of the time range, not part of it, now unless given', time).optional(),
};

/** Which page of a list. A cursor holds its own time range. */
export const pageFields = {
  page: about('Page, 1 unless given', integer(1, 1_000_000)).default(1),
  limit: about('Rows on a page, 100 unless given', integer(1, MAX_LIMIT)).default(100),
  cursor: about(
    'Instead of page, and fast at any depth',
    text((given) => (/^[\w-]+$/.test(given) ? given : undefined), 'next_cursor of the page before', {
      pattern: '^[A-Za-z0-9_-]+$',
    }),
  ).optional(),
};

/**
 * Checks a query string. Names that are not known are refused, so that a misspelt filter never widens an answer.
 *
 * @param prefixes beginnings of names that take any attribute's key: `attr.http.route=/` with the prefix `attr.`
 * @throws AppError INVALID_ARGUMENT, details [{field, given, allowed}] for all that is wrong
 */
export function parseQuery<Shape extends z.ZodRawShape>(
  schema: z.ZodObject<Shape>,
  raw: RawQuery,
  prefixes: readonly AttributePrefix[] = [],
): z.output<z.ZodObject<Shape>> & { attributes: AttributeFilter[] } {
  const attributes: AttributeFilter[] = [];
  const rest: RawQuery = Object.create(null);
  for (const [field, given] of Object.entries(raw)) {
    const prefix = prefixes.find(({ prefix }) => field.startsWith(prefix) && field.length > prefix.length);
    if (prefix)
      attributes.push({ key: prefix.key + field.slice(prefix.prefix.length), values: [given].flat() });
    else rest[field] = given;
  }
  const parsed = schema.strict().safeParse({ ...rest });
  if (parsed.success) return { ...parsed.data, attributes };
  const known = [...Object.keys(schema.shape), ...prefixes.map(({ prefix }) => `${prefix}<key>`)];
  const details = parsed.error.issues.flatMap((issue) => detailsOf(issue, rest, known));
  throw new AppError('INVALID_ARGUMENT', `Bad query: ${details.map(sentence).join('; ')}.`, { details });
}

/** `prefix` in the query string stands for the attribute `key` + the rest. */
export interface AttributePrefix {
  prefix: string;
  key: '' | 'resource.';
  /** For the API's description. */
  meaning: string;
}

interface Detail {
  field: string;
  given: unknown;
  allowed: string;
}

function detailsOf(issue: z.core.$ZodIssue, raw: RawQuery, known: string[]): Detail[] {
  if (issue.code === 'unrecognized_keys') {
    const allowed = `a parameter of this route: ${known.join(', ')}`;
    return issue.keys.map((field) => ({ field, given: raw[field], allowed }));
  }
  const field = issue.path.join('.');
  return [{ field, given: raw[field] ?? null, allowed: issue.message }];
}

const sentence = ({ field, given, allowed }: Detail) =>
  given === null ? `${field} is required: ${allowed}` : `${field} must be ${allowed}`;
