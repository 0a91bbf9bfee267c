import assert from 'node:assert/strict';
import { it } from 'node:test';
import { correlationIdOf } from './entry.js';

it('a correlation id is taken over when it can harm no header and no log line, else made new', () => {
  for (const id of ['a', 'req-1.2:3_4', 'x'.repeat(128)]) assert.equal(correlationIdOf(id), id);
  const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
  for (const bad of [
    undefined,
    '',
    'x'.repeat(129),
    'a b',
    'a\r\nset-cookie: x',
    'a"b',
    '{}',
    'é',
    ['a', 'b'],
  ])
    assert.match(correlationIdOf(bad), uuid, JSON.stringify(bad));
  assert.notEqual(correlationIdOf(undefined), correlationIdOf(undefined));
});
