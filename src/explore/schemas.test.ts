import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { z } from 'zod';
import { AppError } from '../errors.js';
import { parseTerms } from '../figures/search-terms.js';
import { parseQuery, type RawQuery } from '../http/request.schema.js';
import { logsQuery, RECORD_PREFIXES } from './logs.schema.js';
import { METRIC_PREFIXES, metricQuery, stepFor } from './metrics.schema.js';
import { servicesQuery } from './services.schema.js';
import { tracesQuery } from './traces.schema.js';

function details(schema: z.ZodObject, raw: RawQuery): unknown[] {
  try {
    parseQuery(schema, raw, RECORD_PREFIXES);
  } catch (error) {
    assert.ok(error instanceof AppError && error.code === 'INVALID_ARGUMENT');
    return error.details as unknown[];
  }
  throw new Error('was accepted');
}

describe('A query string', () => {
  it('has defaults for everything but what is asked', () => {
    const { attributes, ...query } = parseQuery(servicesQuery, {});
    assert.deepEqual([attributes, query], [[], { page: 1, limit: 100 }]);
  });

  it('is refused with the field, what was given and what is allowed, all at once', () => {
    assert.deepEqual(details(servicesQuery, { page: '0', limit: '1001', from: 'yesterday', cursor: '!' }), [
      {
        field: 'from',
        given: 'yesterday',
        allowed: 'ISO 8601, Unix milliseconds, now, or now-15m style (s, m, h, d, w)',
      },
      { field: 'page', given: '0', allowed: 'a whole number from 1 to 1000000' },
      { field: 'limit', given: '1001', allowed: 'a whole number from 1 to 1000' },
      { field: 'cursor', given: '!', allowed: 'next_cursor of the page before' },
    ]);
  });

  it('with an unknown name is refused: a misspelt filter must not widen the answer', () => {
    const allowed =
      'a parameter of this route: from, to, max_age, explain, page, limit, cursor, attr.<key>, resource.<key>';
    assert.deepEqual(details(servicesQuery, { servce: 'x', 'attr.': 'y' }), [
      { field: 'servce', given: 'x', allowed },
      { field: 'attr.', given: 'y', allowed },
    ]);
  });

  it('with a parameter twice is refused, with an attribute twice means either value', () => {
    assert.deepEqual(details(servicesQuery, { limit: ['1', '2'] }), [
      { field: 'limit', given: ['1', '2'], allowed: 'a whole number from 1 to 1000, once' },
    ]);
    const raw = { 'attr.http.route': ['/a', '/b'], 'resource.host': 'h1' };
    assert.deepEqual(parseQuery(logsQuery, raw, RECORD_PREFIXES).attributes, [
      { key: 'http.route', values: ['/a', '/b'] },
      { key: 'resource.host', values: ['h1'] },
    ]);
  });
});

describe('The words of a log search', () => {
  const terms = (q: string) => parseTerms(q)?.map(({ text, negated }) => (negated ? `NOT ${text}` : text));

  it('are words, "phrases", and what must not be there', () => {
    assert.deepEqual(terms('payment timeout'), ['payment', 'timeout']);
    assert.deepEqual(terms(' "payment failed"  -retry -"gave up" '), [
      'payment failed',
      'NOT retry',
      'NOT gave up',
    ]);
    assert.deepEqual(terms('"say \\"hi\\" \\\\"'), ['say "hi" \\']);
    assert.deepEqual(terms('user-42 a-b -x-y'), ['user-42', 'a-b', 'NOT x-y']);
    assert.deepEqual(terms('"not closed'), ['not closed']);
    assert.deepEqual(terms('"" -"" " "'), [' ']);
    assert.deepEqual(terms(''), []);
  });

  it('are 20 at most', () => {
    assert.equal(terms('a '.repeat(20))?.length, 20);
    assert.equal(terms('a '.repeat(21)), undefined);
    assert.equal(terms('a'.repeat(1001)), undefined);
  });
});

describe('The parameters of a search', () => {
  it('take known words in any case, and durations with decimals', () => {
    const { kind, status, min_duration_ms } = parseQuery(tracesQuery, {
      kind: 'server,Client',
      status: 'error',
      min_duration_ms: '0.5',
    });
    assert.deepEqual([kind, status, min_duration_ms], [['SERVER', 'CLIENT'], ['ERROR'], 0.5]);
    const wrong: RawQuery[] = [
      { kind: 'x' },
      { status: '' },
      { min_duration_ms: '-1' },
      { min_duration_ms: '1e3' },
      { order: 'x' },
    ];
    for (const raw of wrong) {
      assert.equal(details(tracesQuery, raw).length, 1);
    }
  });

  it('take ids of the right length in either case', () => {
    const trace_id = '0AF7651916CD43DD8448EB211C80319C';
    assert.equal(parseQuery(logsQuery, { trace_id }).trace_id, trace_id.toLowerCase());
    for (const bad of ['', 'x', trace_id.slice(1), `${trace_id}0`])
      assert.equal(details(logsQuery, { trace_id: bad }).length, 1);
  });

  it('take a step in seconds or with a unit', () => {
    const step = (text: string) => parseQuery(metricQuery, { metric: 'm', step: text }, METRIC_PREFIXES).step;
    assert.deepEqual(['15', '15s', '5m', '1h', '1d', '1w'].map(step), [15e3, 15e3, 3e5, 36e5, 864e5, 6048e5]);
    for (const bad of ['0', '-1', '1x', '1.5s', ''])
      assert.equal(details(metricQuery, { metric: 'm', step: bad }).length, 1);
    assert.deepEqual(details(metricQuery, {}), [{ field: 'metric', given: null, allowed: 'a name, once' }]);
  });
});

describe('The step of a chart', () => {
  const rangeOf = (seconds: number) => ({ fromNs: 0n, toNs: BigInt(seconds) * 1_000_000_000n });

  it('is a round one that gives about 300 points at most', () => {
    assert.equal(stepFor(rangeOf(60), undefined), 1000);
    assert.equal(stepFor(rangeOf(3600), undefined), 15_000);
    assert.equal(stepFor(rangeOf(86_400), undefined), 300_000);
    assert.equal(stepFor(rangeOf(30 * 86_400), undefined), 10_800_000);
    for (const seconds of [1, 299, 300, 301, 86_401, 3e8, 9e9]) {
      assert.ok(seconds / (stepFor(rangeOf(seconds), undefined) / 1000) <= 300);
    }
  });

  it('must not give more than 11,000 points', () => {
    assert.equal(stepFor(rangeOf(11_000), 1000), 1000);
    assert.throws(
      () => stepFor(rangeOf(22_000), 1000),
      (error) => error instanceof AppError && /use a step of 2s or more/.test(error.message),
    );
  });
});
