import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { StartupError } from './errors.js';
import { SecretBox, secretBoxOf, UnreadableSecretError } from './secret-box.js';

const ONE = Buffer.from('one secret of this test, long enough');
const OTHER = Buffer.from('another secret of this test, long enough');

describe('A sealed secret', () => {
  const box = new SecretBox(ONE);

  it('opens for its owner, and shows nothing before', () => {
    const sealed = box.seal('hunter2 ü', 'channel 1');
    assert.equal(box.open(sealed, 'channel 1'), 'hunter2 ü');
    assert.ok(!sealed.bytes.includes('hunter2'));
    assert.notDeepEqual(
      box.seal('hunter2 ü', 'channel 1').bytes,
      sealed.bytes,
      'the same text never looks the same',
    );
  });

  it('does not open for another owner, nor when a bit of it was changed, nor cut short', () => {
    const sealed = box.seal('hunter2', 'channel 1');
    assert.throws(() => box.open(sealed, 'channel 2'), UnreadableSecretError);
    for (let at = 0; at < sealed.bytes.length; at++) {
      const bytes = Buffer.from(sealed.bytes);
      bytes[at] ^= 1;
      assert.throws(() => box.open({ ...sealed, bytes }, 'channel 1'), UnreadableSecretError, String(at));
      const cut = sealed.bytes.subarray(0, at);
      assert.throws(
        () => box.open({ ...sealed, bytes: cut }, 'channel 1'),
        UnreadableSecretError,
        String(at),
      );
    }
  });

  it('opens under the key that sealed it alone, and says which that is', () => {
    const sealed = box.seal('hunter2', 'channel 1');
    const other = new SecretBox(OTHER);
    assert.ok(!other.canOpen(sealed.keyId));
    assert.throws(
      () => other.open(sealed, 'channel 1'),
      (error: Error) => error.message.includes(sealed.keyId) && error.message.includes('SECRET_KEY_PREVIOUS'),
    );
    const both = new SecretBox(OTHER, ONE);
    assert.equal(both.open(sealed, 'channel 1'), 'hunter2');
    assert.equal(both.seal('x', 'y').keyId, other.keyId, 'the one before seals nothing');
    assert.equal(new SecretBox(ONE).keyId, box.keyId);
    assert.ok(!ONE.toString('hex').includes(box.keyId), 'the id tells nothing of the key');
  });
});

describe('The key of the settings', () => {
  it('is made once, kept for this user alone, and never made anew over a damaged one', () => {
    const folder = mkdtempSync(join(tmpdir(), 'tf-key-'));
    const config = { SECRET_KEY: undefined, SECRET_KEY_PREVIOUS: undefined, DATA_DIR: folder };
    const sealed = secretBoxOf(config).seal('hunter2', 'x');
    const file = join(folder, 'secret-key');
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(secretBoxOf(config).open(sealed, 'x'), 'hunter2');
    const given = { ...config, SECRET_KEY: 'k'.repeat(32) };
    assert.notEqual(secretBoxOf(given).keyId, sealed.keyId);
    assert.ok(!readFileSync(file, 'utf8').includes('kkkk'));
    const renewed = secretBoxOf({
      ...given,
      SECRET_KEY: 'n'.repeat(32),
      SECRET_KEY_PREVIOUS: given.SECRET_KEY,
    });
    assert.equal(renewed.open(secretBoxOf(given).seal('hunter2', 'x'), 'x'), 'hunter2');
    writeFileSync(file, 'abc\n');
    assert.throws(() => secretBoxOf(config), StartupError);
    rmSync(folder, { recursive: true });
  });
});
