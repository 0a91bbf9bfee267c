import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { describe, it } from 'node:test';
import { HOSTILE, makeIncident, makeNotice } from '../../test/support/notices.js';
import { type Notice, notice as noticeSchema } from '../notices/notice.js';
import { renderDiscord } from './discord.js';
import { renderEmail } from './email.js';
import { fit, titleOf } from './message.js';
import { renderPagerDuty } from './pagerduty.js';
import { renderSlack } from './slack.js';
import { renderTeams } from './teams.js';
import { renderWebhook } from './webhook.js';

const plain = (text: string) => ({ type: 'plain_text', text, emoji: false });
const KEY = 'a'.repeat(32);

describe('A notice in Slack’s format', () => {
  it('is blocks of plain text', () => {
    assert.deepEqual(renderSlack(makeNotice()), {
      text: 'Firing (critical): High error rate',
      blocks: [
        { type: 'header', text: plain('Firing (critical): High error rate') },
        { type: 'section', text: plain('The error rate is above 10 %.') },
        { type: 'divider' },
        {
          type: 'section',
          text: plain('#12 (critical) Error rate is 12.5 % on web-1'),
          fields: [
            plain('Labels\nservice=checkout, host=web-1'),
            plain('Value\n12.5 &gt; 10'),
            plain('Started\n2026-01-02T03:04:05.000Z'),
          ],
        },
        {
          type: 'actions',
          elements: [{ type: 'button', text: plain('Open'), url: 'https://tf.example/rules/5' }],
        },
        { type: 'context', elements: [plain('Acme / Production / Shop')] },
      ],
    });
  });
});

describe('A notice of several incidents', () => {
  const urls = ['https://tf.example/incidents/1', 'https://tf.example/incidents/2'];
  const notice = makeNotice({ incidents: urls.map((url) => makeIncident({ url })) });

  it('links to each of them where its format has links', () => {
    const links = (message: unknown) =>
      urls.filter((url) => JSON.stringify(message).includes(JSON.stringify(url))).length;
    assert.equal(links(renderSlack(notice)), 2);
    assert.equal(links(renderTeams(notice)), 2);
    assert.equal(links(renderPagerDuty(KEY, notice)), 2);
    assert.ok(urls.every((url) => renderEmail(notice).html.includes(`<a href="${url}">`)));
    assert.ok(urls.every((url) => renderEmail(notice).text.includes(url)));
    const message = { notice, channelId: 'c', deliveryId: 'd', nowMs: 0 };
    assert.equal(links(JSON.parse(renderWebhook({ url: 'https://x.example' }, message).body)), 2);
  });

  it('has no link where nobody knows the address', () => {
    const bare = makeNotice({ url: undefined, incidents: urls.map(() => makeIncident({ url: undefined })) });
    for (const render of [renderSlack, renderTeams, renderDiscord, renderEmail])
      assert.doesNotMatch(JSON.stringify(render(bare)), /tf\.example|"url"|href|Open/);
  });
});

describe('A notice in Teams’ format', () => {
  it('is an Adaptive Card, in which only runs of text hold what others wrote', () => {
    const run = (text: string, style = {}) => ({
      type: 'RichTextBlock',
      inlines: [{ type: 'TextRun', text, ...style }],
    });
    const fact = (name: string, text: string) => ({
      type: 'RichTextBlock',
      spacing: 'None',
      inlines: [
        { type: 'TextRun', text: `${name}: `, weight: 'Bolder' },
        { type: 'TextRun', text },
      ],
    });
    const title = { weight: 'Bolder', size: 'Large', color: 'Attention' };
    assert.deepEqual(renderTeams(makeNotice()), {
      type: 'message',
      attachments: [
        {
          contentType: 'application/vnd.microsoft.card.adaptive',
          contentUrl: null,
          content: {
            $schema: 'http://adaptivecards.io/schemas/adaptive-card.json',
            type: 'AdaptiveCard',
            version: '1.4',
            body: [
              run('Firing (critical): High error rate', title),
              run('The error rate is above 10 %.'),
              {
                type: 'Container',
                separator: true,
                items: [
                  run('#12 (critical) Error rate is 12.5 % on web-1', { weight: 'Bolder' }),
                  fact('Labels', 'service=checkout, host=web-1'),
                  fact('Value', '12.5 > 10'),
                  fact('Started', '2026-01-02T03:04:05.000Z'),
                ],
              },
              run('Acme / Production / Shop', { size: 'Small', isSubtle: true }),
            ],
            actions: [{ type: 'Action.OpenUrl', title: 'Open', url: 'https://tf.example/rules/5' }],
          },
        },
      ],
    });
  });
});

describe('A notice in Discord’s format', () => {
  it('is an embed that calls nobody', () => {
    assert.deepEqual(renderDiscord(makeNotice({ kind: 'resolved' })), {
      embeds: [
        {
          title: 'Resolved\\: High error rate',
          description: 'The error rate is above 10 %\\.',
          color: 0x2e7d32,
          timestamp: '2026-01-02T03:05:00.000Z',
          fields: [
            {
              name: '\\#12 \\(critical\\) Error rate is 12\\.5 % on web\\-1',
              value:
                'Labels\\: service=checkout, host=web\\-1\nValue\\: 12\\.5 \\> 10\nStarted\\: 2026\\-01\\-02T03\\:04\\:05\\.000Z',
              inline: false,
            },
          ],
          footer: { text: 'Acme / Production / Shop' },
          url: 'https://tf.example/rules/5',
        },
      ],
      allowed_mentions: { parse: [] },
    });
  });
});

describe('A notice in PagerDuty’s format', () => {
  const payload = {
    summary: 'High error rate: Error rate is 12.5 % on web-1',
    timestamp: '2026-01-02T03:04:05.000Z',
    severity: 'critical',
    source: 'Acme / Production / Shop',
    custom_details: {
      kind: 'firing',
      number: 12,
      labels: { service: 'checkout', host: 'web-1' },
      value: 12.5,
      operator: '>',
      threshold: 10,
    },
  };

  it('is an event for each incident, known by its id', () => {
    const [event, second, ...more] = renderPagerDuty(
      KEY,
      makeNotice({
        incidents: [makeIncident(), makeIncident({ id: '00000000-0000-4000-8000-00000000000b' })],
      }),
    );
    assert.deepEqual(event, {
      routing_key: KEY,
      event_action: 'trigger',
      dedup_key: '00000000-0000-4000-8000-00000000000a',
      payload,
      client: 'TelemetryFlow',
      client_url: 'https://tf.example/incidents/12',
    });
    assert.deepEqual([second.dedup_key, more], ['00000000-0000-4000-8000-00000000000b', []]);
  });

  it('is resolved and acknowledged under the same id', () => {
    for (const [kind, action] of [
      ['resolved', 'resolve'],
      ['acknowledged', 'acknowledge'],
    ] as const)
      assert.deepEqual(renderPagerDuty(KEY, makeNotice({ kind })), [
        { routing_key: KEY, event_action: action, dedup_key: '00000000-0000-4000-8000-00000000000a' },
      ]);
    for (const kind of ['gone', 'reminder'] as const) {
      const [event] = renderPagerDuty(KEY, makeNotice({ kind }));
      assert.deepEqual(
        [event.event_action, event.dedup_key],
        ['trigger', '00000000-0000-4000-8000-00000000000a'],
      );
    }
  });

  it('is an event of the rule when that fails, which its recovery resolves', () => {
    const [failing] = renderPagerDuty(KEY, makeNotice({ kind: 'error', incidents: [] }));
    const [again] = renderPagerDuty(KEY, makeNotice({ kind: 'resolved', incidents: [] }));
    assert.deepEqual(
      [failing.event_action, failing.dedup_key, again.event_action, again.dedup_key],
      ['trigger', 'telemetryflow-rule-00000000-0000-4000-8000-000000000005', 'resolve', failing.dedup_key],
    );
  });

  it('opens a test without alarm and resolves it at once', () => {
    const events = renderPagerDuty(KEY, makeNotice({ kind: 'test', rule: undefined, incidents: [] }));
    const [opened, resolved] = events;
    assert.deepEqual(
      [events.length, opened.event_action, opened.payload?.severity, resolved.event_action],
      [2, 'trigger', 'info', 'resolve'],
    );
    assert.equal(opened.dedup_key, resolved.dedup_key);
  });
});

describe('A notice to a webhook', () => {
  const message = { notice: makeNotice(), channelId: 'c', deliveryId: 'd', nowMs: 1_767_323_100_999 };

  it('is the notice itself, with a signature over id, time and body', () => {
    const secret = 'a secret that is long enough';
    const { headers, body } = renderWebhook(
      { url: 'https://x.example', secret, headers: { 'X-Team': 'shop' } },
      message,
    );
    assert.deepEqual(JSON.parse(body), { version: 1, delivery_id: 'd', ...makeNotice() });
    const id = '00000000-0000-4000-8000-000000000001_c';
    const digest = createHmac('sha256', secret).update(`${id}.1767323100.${body}`).digest('base64');
    assert.deepEqual(headers, {
      'user-agent': 'TelemetryFlow',
      'X-Team': 'shop',
      'content-type': 'application/json; charset=utf-8',
      'idempotency-key': id,
      'webhook-id': id,
      'webhook-timestamp': '1767323100',
      'webhook-signature': `v1,${digest}`,
    });
  });

  it('is signed as the example of Standard Webhooks is', async () => {
    // From the libraries' tests: github.com/standard-webhooks/standard-webhooks.
    const { signatureOf } = await import('./webhook.js');
    assert.equal(
      signatureOf(
        'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
        'msg_p5jXN8AQM9LWM0D4loKWxJek',
        1614265330,
        '{"test": 2432232314}',
      ),
      'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    );
  });

  it('is not signed where there is no secret', () => {
    assert.ok(!('webhook-signature' in renderWebhook({ url: 'https://x.example' }, message).headers));
  });
});

describe('A notice as an email', () => {
  it('is plain text and HTML', () => {
    const { subject, text, html } = renderEmail(makeNotice());
    assert.equal(subject, 'Firing (critical): High error rate');
    assert.equal(
      text,
      `Firing (critical): High error rate

The error rate is above 10 %.

#12 (critical) Error rate is 12.5 % on web-1
  Labels: service=checkout, host=web-1
  Value: 12.5 > 10
  Started: 2026-01-02T03:04:05.000Z
  https://tf.example/incidents/12

https://tf.example/rules/5

Acme / Production / Shop
`,
    );
    assert.equal(
      html,
      `<!DOCTYPE html>
<html><body style="font-family:sans-serif;color:#222">
<h2 style="border-left:6px solid #c62828;padding-left:10px">Firing (critical): High error rate</h2>
<p style="white-space:pre-line">The error rate is above 10 %.</p>
<h3><a href="https://tf.example/incidents/12">#12 (critical) Error rate is 12.5 % on web-1</a></h3>
<table cellpadding="4"><tr><th align="left">Labels</th><td>service=checkout, host=web-1</td></tr><tr><th align="left">Value</th><td>12.5 &gt; 10</td></tr><tr><th align="left">Started</th><td>2026-01-02T03:04:05.000Z</td></tr></table>
<p><a href="https://tf.example/rules/5">Open</a></p>
<p style="color:#777">Acme / Production / Shop</p>
</body></html>
`,
    );
  });
});

/** A notice in which everything that others can write is this text. */
const filledWith = (text: string): Notice => {
  const named = { id: '00000000-0000-4000-8000-000000000002', name: text.slice(0, 200) };
  const incident = makeIncident({ summary: text, labels: { [text]: text }, operator: '>' });
  return makeNotice({
    summary: text,
    rule: named,
    organization: named,
    workspace: named,
    tenant: named,
    incidents: [incident, incident],
  });
};

/** All texts of a JSON value, by where they are. */
function textsOf(value: unknown, path = ''): [string, string][] {
  if (typeof value === 'string') return [[path, value]];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, one]) => textsOf(one, `${path}/${key}`));
}

describe('Text of others', () => {
  it('is never markup in Slack: no angle bracket is left, and no block of mrkdwn', () => {
    for (const text of HOSTILE) {
      const rendered = renderSlack(filledWith(text));
      for (const [, one] of textsOf(rendered)) assert.doesNotMatch(one, /[<>]|&(?!amp;|lt;|gt;)/, one);
      assert.doesNotMatch(JSON.stringify(rendered), /mrkdwn/);
    }
  });

  it('is never Markdown in Teams: it is in runs alone', () => {
    for (const text of HOSTILE) {
      const rendered = renderTeams(filledWith(text));
      for (const [path, one] of textsOf(rendered)) {
        const isOurs = !/\/text$/.test(path) || /\/inlines\/\d+\/text$/.test(path);
        assert.ok(isOurs, `${path}: ${one}`);
      }
      assert.doesNotMatch(JSON.stringify(rendered), /"TextBlock"|"FactSet"/);
    }
  });

  it('is never Markdown or a mention in Discord: each sign has its backslash', () => {
    for (const text of HOSTILE) {
      const [embed] = renderDiscord(filledWith(text)).embeds;
      for (const one of [
        embed.title,
        embed.description,
        ...embed.fields.flatMap(({ name, value }) => [name, value]),
      ])
        assert.doesNotMatch(one.replace(/\\[^0-9A-Za-z\s]/g, ''), /[\\*_~`|>#[\]()<@:]/, one);
    }
  });

  it('is never markup in an email’s HTML', () => {
    const tags = (html: string) =>
      html.replace(/<\/?(html|body|h2|h3|p|a|table|tr|th|td|!DOCTYPE)\b[^<>]*>/g, '');
    for (const text of HOSTILE) {
      const { html } = renderEmail(filledWith(text));
      assert.doesNotMatch(tags(html), /[<>"']/, html);
      assert.doesNotMatch(html, /<a href="(?!https:\/\/tf\.example\/)/);
    }
  });

  it('is never a header: subject and title are one line', () => {
    for (const text of HOSTILE) {
      const notice = filledWith(text);
      assert.doesNotMatch(renderEmail(notice).subject, /[\p{Cc}\p{Zl}\p{Zp}]/u);
      assert.doesNotMatch(titleOf(notice), /[\p{Cc}\p{Zl}\p{Zp}]/u);
    }
  });

  it('a link is to the web, or the notice is none', () => {
    for (const url of [
      'javascript:alert(1)',
      'data:text/html,x',
      'file:///etc/passwd',
      'x',
      '//evil.example',
    ]) {
      assert.ok(!noticeSchema.safeParse(makeNotice({ url })).success, url);
      assert.ok(!noticeSchema.safeParse(makeNotice({ incidents: [makeIncident({ url })] })).success, url);
    }
  });
});

describe('A large notice', () => {
  const longest = (character: string) => {
    const text = character.repeat(4000 / character.length);
    const labels = { [text]: text };
    const named = { id: '00000000-0000-4000-8000-000000000002', name: text.slice(0, 200) };
    const incident = makeIncident({ summary: text, labels, resolved_at: '2026-01-02T04:00:00Z' });
    return noticeSchema.parse(
      makeNotice({
        summary: text,
        rule: named,
        organization: named,
        workspace: named,
        tenant: named,
        incidents: Array(50).fill(incident),
      }),
    );
  };

  it('fits into each format, and says how much is left out', () => {
    for (const character of ['a', '<', '&', '*', 'ü', '漢', '😀']) {
      const notice = longest(character);
      const slack = renderSlack(notice);
      assert.ok(slack.blocks.length <= 50);
      for (const block of slack.blocks as {
        type: string;
        text?: { text: string };
        fields?: { text: string }[];
      }[]) {
        assert.ok((block.text?.text.length ?? 1) <= (block.type === 'header' ? 150 : 3000));
        assert.ok((block.fields ?? []).length <= 10);
        for (const field of block.fields ?? []) assert.ok(field.text.length <= 2000);
      }
      assert.match(JSON.stringify(slack), /And 40 more\./);

      const teams = JSON.stringify(renderTeams(notice));
      assert.ok(Buffer.byteLength(teams) <= 21_000, `${character}: ${Buffer.byteLength(teams)}`);
      assert.match(teams, /And 4\d more\./);

      const [embed] = renderDiscord(notice).embeds;
      const texts = [
        embed.title,
        embed.description,
        embed.footer.text,
        ...embed.fields.flatMap(({ name, value }) => [name, value]),
      ];
      assert.ok(texts.join('').length <= 6000);
      assert.ok(embed.title.length <= 256 && embed.description.length <= 4096 && embed.fields.length <= 25);
      for (const { name, value } of embed.fields)
        assert.ok(name.length <= 256 && value.length <= 1024 && name && value);

      for (const { payload } of renderPagerDuty(KEY, notice)) assert.ok(payload!.summary.length <= 1024);
      assert.ok(renderEmail(notice).subject.length <= 200);
    }
  });

  it('is never cut inside a character or how it is written', () => {
    assert.equal(fit('abc', 3), 'abc');
    assert.equal(fit('abcd', 3), 'ab…');
    assert.equal(fit('a😀b', 3), 'a…');
    assert.equal(
      fit('a<<', 6, (one) => (one === '<' ? '&lt;' : one)),
      'a&lt;…',
    );
    assert.equal(
      fit('<<', 4, (one) => (one === '<' ? '&lt;' : one)),
      '…',
    );
    assert.equal(fit('', 3), '');
  });
});
