import type { Scope } from '../edge/scope.js';

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
}

export function readLine(line: string): EntryLine {
  const [id, bytes, items, receivedAtMs, retentionDays] = line.split(' ');
  return {
    id,
    bytes: Number(bytes),
    items: Number(items),
    receivedAtMs: Number(receivedAtMs),
    retentionDays: Number(retentionDays),
  };
}
