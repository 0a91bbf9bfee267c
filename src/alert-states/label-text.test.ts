import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cut, indexedKey, labelText } from './label-text.js';

describe('The value of a label', () => {
  it('is what it is, while it can be kept', () => {
    for (const value of ['', 'shop', 'line\nline', 'x'.repeat(1000)]) assert.equal(labelText(value), value);
  });

  it('that is too long or has a NUL is changed, and stays another one than those like it', () => {
    const long = ['x', 'y'].map((end) => labelText('x'.repeat(5000) + end));
    assert.notEqual(long[0], long[1]);
    for (const value of long) assert.match(value, /^x{900,}… #[0-9a-f]{8}$/);
    const nul = ['a\0', 'a\uFFFD', 'a'].map(labelText);
    assert.equal(new Set(nul).size, 3);
    assert.ok(!nul.some((value) => value.includes('\0')));
  });

  it('is changed once', () => {
    for (const value of ['\0', '😀'.repeat(3000), `${'x'.repeat(988)}${'😀'.repeat(9)}`]) {
      const changed = labelText(value);
      assert.ok(changed.length <= 1000);
      assert.equal(labelText(changed), changed);
      assert.doesNotMatch(changed, /\p{Cs}/u);
    }
  });

  it('is cut between characters', () => {
    assert.equal(cut('a😀b', 2), 'a');
    assert.equal(cut('a😀b', 3), 'a😀');
    assert.equal(cut('a😀b', 4), 'a😀b');
  });

  it('fits into an index with others', () => {
    assert.equal(indexedKey('["shop"]'), '["shop"]');
    const [one, other] = ['a', 'b'].map((end) => indexedKey(JSON.stringify(['漢'.repeat(900), end])));
    assert.ok(one.length < 100);
    assert.notEqual(one, other);
  });
});
