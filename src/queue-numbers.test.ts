import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { loadConfig } from './config.js';
import { QUEUE_DEFAULTS } from './queue-numbers.js';

describe('The numbers of the queues', () => {
  it('are the documented ones by default', () => {
    const config = loadConfig({});
    assert.deepEqual(config.QUEUE_NOTIFICATION, QUEUE_DEFAULTS.notification);
    assert.equal(config.QUEUE_NOTIFICATION.keepFailedMs, 48 * 3_600_000);
    assert.deepEqual(config.QUEUE_OTLP_INGESTION, QUEUE_DEFAULTS['otlp-ingestion']);
  });

  it('can be set one by one', () => {
    const { QUEUE_CLEANUP } = loadConfig({ QUEUE_CLEANUP: 'workers=7, tries=9' });
    assert.deepEqual(QUEUE_CLEANUP, { ...QUEUE_DEFAULTS.cleanup, workers: 7, tries: 9 });
  });

  for (const text of ['workers=0', 'workers', 'workers=1=2', 'speed=3', 'tries=many']) {
    it(`"${text}" is refused with what is allowed`, () => {
      assert.throws(
        () => loadConfig({ QUEUE_CLEANUP: text }),
        /QUEUE_CLEANUP=.*: expected a comma-separated list of priority=1\.\.9, workers=1\.\.1000/,
      );
    });
  }
});
