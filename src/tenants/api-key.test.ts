import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { hashKey, makeKeyText, prefixOf, sameDigest } from './api-key.js';

describe('The text of an API key', () => {
  it('has a readable beginning, 256 random bits and a checksum, in letters and digits', () => {
    const { prefix, key } = makeKeyText();
    assert.match(key, /^tfk_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}$/);
    assert.ok(key.startsWith(`${prefix}_`));
    assert.equal(prefixOf(key), prefix);
  });

  it('is another one each time', () => {
    const keys = Array.from({ length: 1000 }, () => makeKeyText());
    assert.equal(new Set(keys.map(({ prefix }) => prefix)).size, 1000);
    assert.equal(new Set(keys.map(({ key }) => key.slice(17))).size, 1000);
  });

  it('is told from a misspelt one without asking anybody', () => {
    const { key } = makeKeyText();
    for (let at = 4; at < key.length; at++) {
      const other = key[at] === 'x' ? 'y' : 'x';
      assert.equal(prefixOf(key.slice(0, at) + other + key.slice(at + 1)), undefined, `character ${at}`);
    }
    for (const text of ['', 'tfk_', key.slice(1), key.slice(0, -1), `${key}0`, ` ${key}`])
      assert.equal(prefixOf(text), undefined);
  });

  it('is compared by its digest', () => {
    const [one, other] = [makeKeyText().key, makeKeyText().key];
    assert.ok(sameDigest(hashKey(one), hashKey(one)));
    assert.ok(!sameDigest(hashKey(one), hashKey(other)));
    assert.ok(!sameDigest(hashKey(one), hashKey(one).subarray(1)));
  });
});
