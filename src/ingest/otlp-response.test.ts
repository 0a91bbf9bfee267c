import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { otlp } from '../../test/support/otlp-proto.js';
import { AppError } from '../errors.js';
import { encodingOf, statusBody, successBody } from './otlp-response.js';

describe('OTLP answers', () => {
  it('a full success is 0 bytes of protobuf, {} of JSON', () => {
    assert.equal(successBody('traces', 'protobuf', 0, '').length, 0);
    assert.equal(successBody('traces', 'json', 0, '').toString(), '{}');
  });

  it('a partial success says how many and why, in both encodings', () => {
    const json = JSON.parse(successBody('metrics', 'json', 300, 'too old').toString());
    assert.deepEqual(json, { partialSuccess: { rejectedDataPoints: '300', errorMessage: 'too old' } });
    const decoded = otlp.metricsResponse.toObject(
      otlp.metricsResponse.decode(successBody('metrics', 'protobuf', 300, 'too old')),
      { longs: String },
    );
    assert.deepEqual(decoded, { partialSuccess: { rejectedDataPoints: '300', errorMessage: 'too old' } });
  });

  it('an error is a google.rpc.Status', () => {
    const error = new AppError('MALFORMED_BODY', 'offset 3: ünexpected');
    const decoded = otlp.status.toObject(otlp.status.decode(statusBody('protobuf', error)));
    assert.deepEqual(decoded, { code: 3, message: 'offset 3: ünexpected' });
    assert.deepEqual(JSON.parse(statusBody('json', error).toString()), {
      code: 3,
      message: 'offset 3: ünexpected',
    });
  });

  it('takes content types in any case and with parameters', () => {
    assert.equal(encodingOf('APPLICATION/JSON; charset=utf-8'), 'json');
    assert.equal(encodingOf('application/x-protobuf'), 'protobuf');
    assert.equal(encodingOf('text/plain'), undefined);
    assert.equal(encodingOf(undefined), undefined);
  });
});
