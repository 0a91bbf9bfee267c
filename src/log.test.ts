import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { describe, it } from 'node:test';
import { pino } from 'pino';
import { QueryFailedError } from 'typeorm';
import { SERIALIZERS } from './log.js';

describe('The log', () => {
  it('says which statement failed and why, without its values', () => {
    let text = '';
    const sink = new Writable({
      write: (chunk, _, done) => {
        text += chunk;
        done();
      },
    });
    const fault = Object.assign(new Error('duplicate key value violates unique constraint "users_email"'), {
      ...{ code: '23505', detail: 'Key (email)=(hush-hush) already exists.', where: 'line 1: hush-hush' },
    });
    const error = new QueryFailedError('INSERT INTO users VALUES ($1)', ['hush-hush'], fault);
    pino({ serializers: SERIALIZERS }, sink).error({ err: error }, 'It failed.');
    const { err } = JSON.parse(text);
    assert.deepEqual([err.code, err.query], ['23505', 'INSERT INTO users VALUES ($1)']);
    assert.match(err.message, /users_email/);
    assert.match(err.stack, /log\.test/);
    assert.ok(!text.includes('hush-hush'), text);
    assert.equal(SERIALIZERS.err('no error'), 'no error');
  });
});
