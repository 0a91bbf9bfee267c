import type { Notice, NoticeIncident } from '../../src/notices/notice.js';

const INCIDENT: NoticeIncident = {
  id: '00000000-0000-4000-8000-00000000000a',
  number: 12,
  severity: 'critical',
  started_at: '2026-01-02T03:04:05.000Z',
  labels: { service: 'checkout', host: 'web-1' },
  value: 12.5,
  operator: '>',
  threshold: 10,
  summary: 'Error rate is 12.5 % on web-1',
  url: 'https://tf.example/incidents/12',
};

const NOTICE: Notice = {
  id: '00000000-0000-4000-8000-000000000001',
  kind: 'firing',
  severity: 'critical',
  organization: { id: '00000000-0000-4000-8000-000000000002', name: 'Acme' },
  workspace: { id: '00000000-0000-4000-8000-000000000003', name: 'Production' },
  tenant: { id: '00000000-0000-4000-8000-000000000004', name: 'Shop' },
  rule: { id: '00000000-0000-4000-8000-000000000005', name: 'High error rate' },
  at: '2026-01-02T03:05:00.000Z',
  summary: 'The error rate is above 10 %.',
  url: 'https://tf.example/rules/5',
  incidents: [INCIDENT],
};

export const makeNotice = (change: Partial<Notice> = {}): Notice => ({ ...NOTICE, ...change });
export const makeIncident = (change: Partial<NoticeIncident> = {}): NoticeIncident => ({
  ...INCIDENT,
  ...change,
});

/** Text that means something in one of the formats that messages are written in. */
export const HOSTILE = [
  '<!channel> <!here> <@U123> <https://evil.example|click>',
  '@everyone @here <@&1> <#1> <t:1:R> <:a:1>',
  '*bold* _italic_ ~strike~ `code` ```block``` ||spoiler||',
  '[click](https://evil.example) ![x](https://evil.example/x.png)',
  '<script>alert(1)</script><img src=x onerror=alert(1)>',
  '"><a href="javascript:alert(1)">x</a>',
  "' onmouseover='alert(1)",
  '&lt;b&gt; &amp;amp;',
  'a\r\nBcc: evil@example.com\r\n\r\n<b>body</b>',
  '# head\n> quote\n- list\n1. list',
  '{{TIME(2017-02-14T06:08:00Z)}} <at>all</at>',
  '\u202egnp.exe \u0000\u001b[31m',
  '\\*not\\* \\',
  '😀'.repeat(10),
];
