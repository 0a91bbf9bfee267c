import type { SearchTerm } from '../store/logs.js';

export const MAX_TERMS = 20;
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
