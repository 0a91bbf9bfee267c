import type { EntityManager } from 'typeorm';
import type { ErrorCode } from '../errors.js';
import type { Principal } from './principal.js';

/** One thing that was done, or refused: who, what, on which thing, from where, with which result. */
export interface AuditEvent {
  /** What was done, `<thing>.<verb>`: `api_key.create`, `session.login`, `access.refuse`. */
  action: string;
  result: 'ok' | 'refused' | 'failed';
  /** Who did it; undefined when that is not known, as before a login, or (without an address) when the system did. */
  principal: Principal | undefined;
  /** Whose record it is, where that is not the principal's own organization. */
  organizationId?: string;
  /** Of which of its tenants; null: of the organization as a whole. Not given: the principal's, where the record is its. */
  tenantId?: string | null;
  target?: { kind: string; id: string; name?: string };
  remoteAddress: string | undefined;
  /** Of the request, as the client was told it; empty where there was none. */
  correlationId: string;
  /** What changed; never a secret. */
  details?: Readonly<Record<string, unknown>>;
}

/** A request that was turned away: 401 or 403. */
export interface Refusal {
  code: ErrorCode;
  principal: Principal | undefined;
  remoteAddress: string | undefined;
  correlationId: string;
  method: string;
  /** As it was asked for, query included; only the path is kept. */
  url: string;
}

/** Where things that were done are written down; nothing written is ever changed. */
export interface AuditTrail {
  /**
   * @param manager the transaction of the change, so that both are kept or neither; without it the event is written by
   *   itself, and a fault is logged and not thrown
   */
  record(event: AuditEvent, manager?: EntityManager): Promise<void>;

  /**
   * Counts a refusal, to be written within about a second together with all of the same address, principal and code:
   * being refused must cost the caller more than the database.
   */
  refuse(refusal: Refusal): void;
}

/** Injection token of the `AuditTrail`: every room may write to it, `tenants/` keeps it. */
export const AUDIT = Symbol('AUDIT');
