import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { logRecord, requestOf } from '../../test/support/items.js';
import { encode } from '../../test/support/otlp-client.js';
import { transcodeBlock } from './transcode-block.js';
import { TranscodeTrial, TrialLost } from './trial.js';

describe('A batch that is tried in a process of its own', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tf-trial-'));
  after(() => rmSync(folder, { recursive: true }));
  const trial = new TranscodeTrial(128, 'poison-body');
  const requestWith = (name: string, ...markers: string[]) => {
    const window = { receivedAtMs: Date.now(), retentionDays: 30 };
    const entries = markers.map((marker) => {
      const body = encode('logs', 'protobuf', requestOf('logs', [logRecord(marker)]));
      // As bodies are kept: in memory that threads share.
      const shared = new Uint8Array(new SharedArrayBuffer(body.length));
      shared.set(body);
      return { window, body: shared };
    });
    return { signal: 'logs' as const, file: join(folder, name), entries };
  };

  it('becomes the same block as in a thread', async () => {
    const request = requestWith('apart', 'a', 'b');
    const apart = await trial.transcode(request);
    assert.equal(apart.rows, 2);
    assert.equal(statSync(request.file).size, apart.fileBytes);
    assert.deepEqual(apart, transcodeBlock({ ...request, file: join(folder, 'here') }));
  });

  it('takes only that process down, and the next ones are tried all the same', async () => {
    const killing = trial.transcode(requestWith('killing', 'a', 'poison-body'));
    const next = trial.transcode(requestWith('next', 'c'));
    await assert.rejects(killing, (error) => error instanceof TrialLost && /SIGKILL/.test(error.message));
    assert.equal((await next).rows, 1);
  });

  it('is refused for the reason that it is refused for in a thread', async () => {
    const request = { ...requestWith('away', 'a'), file: join(folder, 'no-such-folder', 'file') };
    await assert.rejects(trial.transcode(request), { name: 'ThreadError', code: 'ENOENT' });
  });
});
