import type { Notice } from './notice.js';

/**
 * A notice with addresses under which what it tells can be looked at: each incident has its own, the notice that of its only incident,
 * else of the rule's incidents or, where there are none, of the rule.
 *
 * @param publicUrl where the API is reached from outside, without a slash at the end; undefined: nobody knows, and there are no links
 */
export function withLinks(notice: Notice, publicUrl: string | undefined): Notice {
  if (publicUrl === undefined) return notice;
  const alerts = `${publicUrl}/api/v1/alerts`;
  const { rule } = notice;
  const incidents = notice.incidents.map((incident) => ({
    ...incident,
    url: `${alerts}/incidents/${incident.id}`,
  }));
  const rest = rule === undefined ? publicUrl : `${alerts}/rules/${rule.id}`;
  const many = rule === undefined ? `${alerts}/incidents` : `${alerts}/incidents?rule_id=${rule.id}`;
  const url = incidents.length === 1 ? incidents[0].url : incidents.length > 1 ? many : rest;
  return { ...notice, url, incidents };
}
