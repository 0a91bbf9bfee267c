import { type BeforeApplicationShutdown, Inject, Injectable } from '@nestjs/common';
import type { Logger } from 'pino';
import { DataSource, type EntityManager } from 'typeorm';
import type { AuditEvent, AuditTrail, Refusal } from '../edge/audit.js';
import { LOGGER } from '../log.js';

const COLUMNS = [
  'organization_id',
  'tenant_id',
  'actor_kind',
  'actor_id',
  'actor_name',
  'action',
  'target_kind',
  'target_id',
  'target_name',
  'remote_address',
  'correlation_id',
  'result',
  'details',
] as const;
/** A correlation id and a path are as long as the client likes. */
const MAX_TEXT = 256;

const REFUSALS_EVERY_MS = 1000;
/** Different callers that are told apart in a second; what more there are is counted as one. */
const MAX_CALLERS = 100;

interface Counted extends Refusal {
  count: number;
}

/** The audit log in PostgreSQL, which lets no row be changed or removed. */
@Injectable()
export class PostgresAudit implements AuditTrail, BeforeApplicationShutdown {
  private refusals = new Map<string, Counted>();
  private timer: NodeJS.Timeout | undefined;
  private writing: Promise<void> = Promise.resolve();

  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  async record(event: AuditEvent, manager?: EntityManager): Promise<void> {
    if (manager) await insert(manager, [event]);
    else await this.write([event]);
  }

  refuse(refusal: Refusal): void {
    const { code, principal, remoteAddress } = refusal;
    const caller = JSON.stringify([remoteAddress, principal?.id, code]);
    const counted = this.refusals.get(caller);
    if (counted) counted.count++;
    else if (this.refusals.size < MAX_CALLERS) this.refusals.set(caller, { ...refusal, count: 1 });
    else this.countAsOne(refusal);
    this.timer ??= setTimeout(() => this.flush(), REFUSALS_EVERY_MS).unref();
  }

  /** Of too many callers only their number is kept, whosever they were. */
  private countAsOne(refusal: Refusal): void {
    const rest = this.refusals.get('rest');
    if (rest) rest.count++;
    else this.refusals.set('rest', { ...refusal, principal: undefined, remoteAddress: 'many', count: 1 });
  }

  private flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.refusals.size === 0) return;
    const events = [...this.refusals.values()].map(eventOf);
    this.refusals = new Map();
    this.writing = this.writing.then(() => this.write(events));
  }

  private async write(events: AuditEvent[]): Promise<void> {
    try {
      await insert(this.source, events);
    } catch (error) {
      const actions = [...new Set(events.map(({ action }) => action))];
      this.log.error({ err: error, actions, events: events.length }, 'The audit log could not be written.');
    }
  }

  /** Before the connections close: what was counted is written. */
  async beforeApplicationShutdown(): Promise<void> {
    this.flush();
    await this.writing;
  }
}

function eventOf({ code, count, method, url, ...who }: Counted): AuditEvent {
  const route = `${method} ${url.split('?', 1)[0]}`.slice(0, MAX_TEXT);
  return {
    ...who,
    action: 'access.refuse',
    result: 'refused',
    target: { kind: 'route', id: route },
    details: { code, count },
  };
}

async function insert(manager: EntityManager | DataSource, events: AuditEvent[]): Promise<void> {
  const values: unknown[] = [];
  const rows = events.map((event) => {
    const places = rowOf(event).map((value) => `$${values.push(value)}`);
    return `(${places.join(', ')})`;
  });
  await manager.query(`INSERT INTO audit_log (${COLUMNS.join(', ')}) VALUES ${rows.join(', ')}`, values);
}

/** In the order of COLUMNS. */
function rowOf(event: AuditEvent): unknown[] {
  const { principal, target } = event;
  const organizationId = event.organizationId ?? principal?.scope.organizationId ?? null;
  // The tenant someone acts for is no business of another organization.
  const ownTenant = event.organizationId === undefined ? (principal?.scope.tenantId ?? null) : null;
  const unknown = event.remoteAddress === undefined ? 'system' : 'anonymous';
  return [
    organizationId,
    event.tenantId === undefined ? ownTenant : event.tenantId,
    principal?.kind ?? unknown,
    principal?.id ?? unknown,
    principal?.name ?? unknown,
    event.action,
    target?.kind ?? '',
    target?.id ?? '',
    target?.name ?? '',
    event.remoteAddress ?? '',
    event.correlationId.slice(0, MAX_TEXT),
    event.result,
    JSON.stringify(event.details ?? {}),
  ];
}
