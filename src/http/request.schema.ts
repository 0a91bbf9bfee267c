import { z } from 'zod';
import { AppError } from '../errors.js';
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

/** Text that PostgreSQL keeps as it is, and that no terminal or log takes for anything but text. */
export const PRINTABLE = /^[^\p{Cc}\p{Cs}]*$/u;

/** The same, of several lines. */
export const PRINTABLE_LINES = /^(?:[^\p{Cc}\p{Cs}]|[\n\r\t])*$/u;

const MAX_NAME = 200;
const NAME = `a name of 1 to ${MAX_NAME} printable characters`;
/** The name of a thing in a body. */
export const nameField = z
  .string({ error: NAME })
  .trim()
  .min(1, { error: NAME })
  .max(MAX_NAME, { error: NAME })
  .regex(PRINTABLE, { error: NAME });

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

/** Of every question about telemetry. */
export const questionFields = {
  ...timeFields,
  max_age: about(
    'How many seconds old an answer may be, for what is asked again and again, such as a panel of a dashboard (its refresh interval); unless given it holds what was stored a second ago, but for series in steps of 5 minutes or more',
    integer(1, 300),
  ).optional(),
  explain: about(
    'With the permission admin, 1 adds the statements and how they use indexes to meta; such an answer is not cached',
    oneOf('0', '1'),
  ).optional(),
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

/** A key names an attribute of the row itself, of its resource (`resource.<key>`), or the service. */
export interface AttributeFilter {
  key: string;
  /** The value is one of these; compared as text (42, true, 1.5). '' also means present and empty. */
  values: string[];
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

/**
 * Checks a JSON body. Unknown fields are refused, so that a misspelt one is not taken for done.
 *
 * @throws AppError INVALID_ARGUMENT, details [{field, given, allowed}] for all that is wrong; secrets, and whatever was sent
 *   under a name that is not known, are not repeated
 */
export function parseBody<Shape extends z.ZodRawShape>(
  schema: z.ZodObject<Shape>,
  body: unknown,
): z.output<z.ZodObject<Shape>> {
  const parsed = schema.strict().safeParse(body);
  if (parsed.success) return parsed.data;
  const known = Object.keys(schema.shape);
  const details = parsed.error.issues.flatMap((issue) => bodyDetails(issue, body, known));
  throw new AppError('INVALID_ARGUMENT', `Bad body: ${details.map(sentence).join('; ')}.`, { details });
}

/** The same for a change: fields that are not given stay as they are, but there must be one. */
export function parseChange<Shape extends z.ZodRawShape>(
  schema: z.ZodObject<Shape>,
  body: unknown,
): Partial<z.output<z.ZodObject<Shape>>> {
  const change = parseBody(schema.partial() as unknown as z.ZodObject<Shape>, body);
  if (Object.keys(change).length > 0) return change;
  const allowed = `at least one of ${Object.keys(schema.shape).join(', ')}`;
  throw new AppError('INVALID_ARGUMENT', `There is nothing to change: give ${allowed}.`, {
    details: [{ field: 'body', given: null, allowed }],
  });
}

const SECRET = /password|secret|token/i;
const MAX_SHOWN = 200;

function bodyDetails(issue: z.core.$ZodIssue, body: unknown, known: string[]): Detail[] {
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    const allowed = path.length > 0 ? 'not there' : `a field of this body: ${known.join(', ')}`;
    return issue.keys.map((key) => ({ field: [...path, key].join('.'), given: 'a value', allowed }));
  }
  if (path.length === 0) return [{ field: 'body', given: typeof body, allowed: 'a JSON object' }];
  const given = path.reduce<unknown>((value, key) => (value as Record<string, unknown>)?.[key], body);
  return [{ field: path.join('.'), given: shown(path, given), allowed: issue.message }];
}

function shown(path: string[], given: unknown): unknown {
  if (given === undefined) return null;
  if (path.some((name) => SECRET.test(name)) || typeof given === 'object') return `a ${typeof given}`;
  return typeof given === 'string' ? given.slice(0, MAX_SHOWN) : given;
}

const sentence = ({ field, given, allowed }: Detail) =>
  given === null ? `${field} is required: ${allowed}` : `${field} must be ${allowed}`;
