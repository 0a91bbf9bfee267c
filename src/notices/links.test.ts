import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeIncident, makeNotice } from '../../test/support/notices.js';
import { withLinks } from './links.js';
import { notice as noticeSchema } from './notice.js';

const BASE = 'https://tf.example/tf';
const RULE = makeNotice().rule!.id;
const bare = makeIncident({ url: undefined });
const other = { ...bare, id: '00000000-0000-4000-8000-00000000000b' };

describe('The links of a notice', () => {
  it('are that of its incident', () => {
    const linked = withLinks(makeNotice({ url: undefined, incidents: [bare] }), BASE);
    const url = `${BASE}/api/v1/alerts/incidents/${bare.id}`;
    assert.equal(linked.url, url);
    assert.equal(linked.incidents[0].url, url);
    assert.ok(noticeSchema.safeParse(linked).success);
  });

  it('are those of each incident, and of the rule’s incidents for all of them', () => {
    const linked = withLinks(makeNotice({ url: undefined, incidents: [bare, other] }), BASE);
    assert.equal(linked.url, `${BASE}/api/v1/alerts/incidents?rule_id=${RULE}`);
    assert.deepEqual(
      linked.incidents.map(({ url }) => url),
      [bare, other].map(({ id }) => `${BASE}/api/v1/alerts/incidents/${id}`),
    );
  });

  it('lead to the rule that fails, and from a test to the program', () => {
    const failing = withLinks(makeNotice({ kind: 'error', url: undefined, incidents: [] }), BASE);
    assert.equal(failing.url, `${BASE}/api/v1/alerts/rules/${RULE}`);
    const test = makeNotice({ kind: 'test', rule: undefined, url: undefined, incidents: [] });
    assert.equal(withLinks(test, BASE).url, BASE);
  });

  it('are none where the setting is unset', () => {
    const notice = makeNotice({ url: undefined, incidents: [bare] });
    assert.deepEqual(withLinks(notice, undefined), notice);
  });
});
