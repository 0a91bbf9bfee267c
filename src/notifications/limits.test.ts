import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { makeIncident, makeNotice } from '../../test/support/notices.js';
import { MAX_INCIDENTS, NOTICE_KINDS, type Notice, notice as noticeSchema } from '../notices/notice.js';
import { renderDiscord } from './discord.js';
import { renderEmail } from './email.js';
import { renderPagerDuty } from './pagerduty.js';
import { renderSlack } from './slack.js';
import { renderTeams } from './teams.js';

const KEY = 'a'.repeat(32);
const RUNS = 300;

/** Of any characters, up to that length; often all of it one that a format writes in many places or bytes. */
function text(max: number): fc.Arbitrary<string> {
  const odd = fc.constantFrom('<', '*', '"', '\\', '\u0001', '\n', 'ü', '漢', '😀', '\u202e', ' ');
  const repeated = fc
    .tuple(odd, fc.integer({ min: 1, max }))
    .map(([character, length]) => character.repeat(length).slice(0, max - (max % character.length)));
  return fc.oneof(fc.string({ unit: 'binary', maxLength: Math.min(max / 2, 100) }), repeated);
}
/** A name as a schema lets it through. */
const named = text(150).map((name) => ({ id: '00000000-0000-4000-8000-000000000002', name: `n${name}` }));
const summary = text(3900).map((body) => `s${body}`.trim());
const url = fc.option(
  fc.integer({ min: 0, max: 1900 }).map((length) => `https://tf.example/${'a'.repeat(length)}`),
  { nil: undefined },
);
const incident = fc.record({
  summary,
  labels: fc.dictionary(text(200), text(1000), { maxKeys: 37 }),
  value: fc.option(fc.double({ noNaN: true, noDefaultInfinity: true })),
  threshold: fc.option(fc.double({ noNaN: true, noDefaultInfinity: true })),
  resolved_at: fc.constantFrom(undefined, '2026-01-02T04:00:00Z'),
  url,
});
const notices: fc.Arbitrary<Notice> = fc
  .record({
    kind: fc.constantFrom(...NOTICE_KINDS),
    severity: fc.constantFrom('warning' as const, 'critical' as const),
    organization: named,
    workspace: named,
    tenant: named,
    rule: named,
    summary,
    url,
    incidents: fc.array(incident, { maxLength: 3 }),
    times: fc.integer({ min: 1, max: MAX_INCIDENTS }),
  })
  .map(({ times, incidents, ...change }) => {
    const many = Array.from({ length: times }, () => incidents).flat();
    return makeNotice({ ...change, incidents: many.slice(0, MAX_INCIDENTS).map(makeIncident) });
  });

const holds = (check: (notice: Notice) => void) =>
  fc.assert(
    fc.property(notices, (notice) => {
      // It is one that is written down, and read again from there.
      check(noticeSchema.parse(JSON.parse(JSON.stringify(notice))));
    }),
    { numRuns: RUNS },
  );
const isWithin = (length: number, min: number, max: number, what: string) =>
  assert.ok(length >= min && length <= max, `${what}: ${length}`);

describe('Whatever a notice says, it is within the limits', () => {
  // https://docs.slack.dev/reference/block-kit/blocks
  it('of Slack', () => {
    interface Block {
      type: string;
      text?: { text: string };
      fields?: { text: string }[];
      accessory?: { url: string };
      elements?: { text: string | object; url?: string }[];
    }
    holds((notice) => {
      const { text: shown, blocks } = renderSlack(notice);
      isWithin(shown.length, 1, 4000, 'text');
      isWithin(blocks.length, 1, 50, 'blocks');
      for (const block of blocks as Block[]) {
        const max = block.type === 'header' ? 150 : 3000;
        if (block.text) isWithin(block.text.text.trim().length, 1, max, block.type);
        isWithin(block.fields?.length ?? 0, 0, 10, 'fields');
        for (const field of block.fields ?? []) isWithin(field.text.trim().length, 1, 2000, 'field');
        for (const { url: link } of [block.accessory ?? { url: '' }, ...(block.elements ?? [])])
          isWithin(link?.length ?? 0, 0, 3000, 'url');
      }
    });
  });

  // https://docs.discord.com/developers/resources/message#embed-object-embed-limits
  it('of Discord', () => {
    holds((notice) => {
      const { embeds } = renderDiscord(notice);
      isWithin(embeds.length, 1, 10, 'embeds');
      const [{ title, description, fields, footer }] = embeds;
      isWithin(title.trim().length, 1, 256, 'title');
      isWithin(description.trim().length, 1, 4096, 'description');
      isWithin(fields.length, 0, 25, 'fields');
      isWithin(footer.text.trim().length, 1, 2048, 'footer');
      for (const { name, value } of fields) {
        isWithin(name.trim().length, 1, 256, 'name');
        isWithin(value.trim().length, 1, 1024, 'value');
      }
      const texts = [title, description, footer.text, ...fields.flatMap(({ name, value }) => [name, value])];
      isWithin(texts.join('').length, 1, 6000, 'all');
    });
  });

  // https://learn.microsoft.com/connectors/teams
  it('of Teams', () => {
    holds((notice) => {
      isWithin(Buffer.byteLength(JSON.stringify(renderTeams(notice))), 1, 28_000, 'bytes');
    });
  });

  // https://developer.pagerduty.com/docs/events-api-v2-overview and .../events-api-v2/trigger-events
  it('of PagerDuty', () => {
    holds((notice) => {
      for (const event of renderPagerDuty(KEY, notice)) {
        isWithin(Buffer.byteLength(JSON.stringify(event)), 1, 512_000, 'bytes');
        isWithin(event.dedup_key.length, 1, 255, 'dedup_key');
        assert.ok(['trigger', 'acknowledge', 'resolve'].includes(event.event_action));
        assert.equal(event.payload !== undefined, event.event_action === 'trigger');
        if (!event.payload) continue;
        isWithin(event.payload.summary.trim().length, 1, 1024, 'summary');
        isWithin(event.payload.source.trim().length, 1, 1000, 'source');
        assert.ok(['critical', 'error', 'warning', 'info'].includes(event.payload.severity));
        assert.ok(!Number.isNaN(Date.parse(event.payload.timestamp)));
      }
    });
  });

  it('of email: a subject of one line, and text', () => {
    holds((notice) => {
      const { subject, text: body, html } = renderEmail(notice);
      isWithin(subject.length, 1, 200, 'subject');
      assert.doesNotMatch(subject, /[\p{Cc}\p{Zl}\p{Zp}]/u);
      assert.ok(body.trim().length > 0 && html.length > 0);
    });
  });
});
