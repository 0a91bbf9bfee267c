import { z } from 'zod';
import {
  type AttributePrefix,
  hexId,
  names,
  oneOf,
  pageFields,
  text,
  timeFields,
} from '../edge/request.schema.js';
import type { SearchTerm } from '../store/logs.js';
import { severityNumber } from '../store/logs.js';

/** `attr.<key>=v` of the record or span itself, `resource.<key>=v` of its resource. */
export const RECORD_PREFIXES: AttributePrefix[] = [
  { prefix: 'attr.', key: '' },
  { prefix: 'resource.', key: 'resource.' },
];

const MAX_TERMS = 20;
const MAX_TERM_LENGTH = 1000;

/**
 * Words and "phrases", all of which must be in the body in any case; `-` before one means that it must not be.
 * A backslash keeps a quote within a phrase: "say \"hi\"".
 *
 * @returns undefined when there are too many, or one is too long
 */
export function parseTerms(q: string): SearchTerm[] | undefined {
  const terms: SearchTerm[] = [];
  for (const [, minus, phrase, word] of q.matchAll(/(-?)(?:"((?:[^"\\]|\\.)*)"?|([^\s"]\S*))/gs)) {
    const content = phrase === undefined ? word : phrase.replace(/\\(.)/gs, '$1');
    if (content !== '') terms.push({ text: content, negated: minus === '-' });
  }
  return terms.length <= MAX_TERMS && terms.every((term) => term.text.length <= MAX_TERM_LENGTH)
    ? terms
    : undefined;
}

export const logsQuery = z.object({
  q: text(parseTerms, `words and "phrases", ${MAX_TERMS} at most`).default([]),
  service: names.default([]),
  severity: names.default([]),
  min_severity: text(
    severityNumber,
    'trace, debug, info, warn, error, fatal, or a number from 1 to 24',
  ).optional(),
  trace_id: hexId(16).optional(),
  span_id: hexId(8).optional(),
  order: oneOf('desc', 'asc').default('desc'),
  ...timeFields,
  ...pageFields,
});
