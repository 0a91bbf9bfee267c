import type { Scope } from '../edge/scope.js';
import type { Rejections } from '../queue/ingest-queue.js';

/** A tenant as one string, whatever characters its ids have. */
export function laneOf({ organizationId, workspaceId, tenantId }: Scope): string {
  return JSON.stringify([organizationId, workspaceId, tenantId]);
}

export function scopeOfLane(lane: string): Scope {
  const [organizationId, workspaceId, tenantId] = JSON.parse(lane) as [string, string, string];
  return { organizationId, workspaceId, tenantId };
}

/** One line of a plan, see script.ts. */
export interface EntryLine {
  id: string;
  bytes: number;
  items: number;
  receivedAtMs: number;
  retentionDays: number;
  reasons?: Rejections;
}

export function readLine(line: string): EntryLine {
  const [id, bytes, items, receivedAtMs, retentionDays, _addedAt, text] = line.split(' ');
  const reasons = readReasons(text);
  return {
    id,
    bytes: Number(bytes),
    items: Number(items),
    receivedAtMs: Number(receivedAtMs),
    retentionDays: Number(retentionDays),
    ...(reasons && { reasons }),
  };
}

/** What was refused of a request, as its line says it: without spaces. */
export function reasonsText(reasons: Rejections | undefined): string {
  if (reasons === undefined) return '-';
  const pairs = Object.entries(reasons).map(([code, count]) => `${code}=${count}`);
  return pairs.join(',') || '-';
}

function readReasons(text: string): Rejections | undefined {
  if (text === '-') return undefined;
  return Object.fromEntries(
    text.split(',').map((pair) => {
      const [code, count] = pair.split('=');
      return [code, Number(count)];
    }),
  );
}
