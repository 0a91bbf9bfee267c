import type { BlockList } from 'node:net';
import type { Caller, Credentials } from '../edge/credentials.js';
import type { MaybeNow, Principal } from '../edge/principal.js';
import type { Quotas } from '../edge/quota.js';
import { assertAllowed, type LimitVerdict, type RateLimiter } from '../edge/rate-limiter.js';
import { remoteAddress } from '../edge/remote-address.js';
import { assertPermission } from '../edge/scope.guard.js';

type OnVerdict = (verdict: LimitVerdict) => void;

/** What an OTLP request passes before its body is read, whatever the transport: who, how often, may it, how much today. */
export class Admission {
  constructor(
    private readonly credentials: Credentials,
    private readonly limiter: RateLimiter,
    private readonly quotas: Quotas,
    private readonly proxies: BlockList | undefined,
  ) {}

  /**
   * Admits one request, which costs one token; a refused credential costs one of its address.
   *
   * @param caller with the address of the connection's other end
   * @param onVerdict hears how far the sender is from its limit, also when it is refused; not where there is none
   * @returns not a promise where all of that is known at once
   * @throws AppError UNAUTHENTICATED, PERMISSION_DENIED, RATE_LIMITED, UNAVAILABLE
   */
  admit({ headers, remoteAddress: peer }: Caller, onVerdict: OnVerdict): MaybeNow<Principal> {
    const sender = remoteAddress(peer, headers['x-forwarded-for'], this.proxies);
    let found: MaybeNow<Principal>;
    try {
      found = this.credentials.identify({ headers, remoteAddress: sender });
    } catch (error) {
      return this.refuse(error, sender, onVerdict);
    }
    if (!(found instanceof Promise)) return this.limit(found, sender, onVerdict);
    return found.then(
      (principal) => this.limit(principal, sender, onVerdict),
      (error) => this.refuse(error, sender, onVerdict),
    );
  }

  private limit(principal: Principal, sender: string | undefined, onVerdict: OnVerdict): MaybeNow<Principal> {
    const taken = this.limiter.take('ingestion', principal, sender);
    const then = (verdict: LimitVerdict | undefined) => {
      told(verdict, onVerdict);
      assertPermission(principal.permissions, 'ingest');
      const loading = this.quotas.assertLeft(principal.scope);
      return loading ? loading.then(() => principal) : principal;
    };
    return taken instanceof Promise ? taken.then(then) : then(taken);
  }

  private async refuse(refusal: unknown, sender: string | undefined, onVerdict: OnVerdict): Promise<never> {
    told(await this.limiter.take('ingestion', undefined, sender), onVerdict);
    throw refusal;
  }
}

/** @throws AppError RATE_LIMITED */
function told(verdict: LimitVerdict | undefined, onVerdict: OnVerdict): void {
  if (!verdict) return;
  onVerdict(verdict);
  assertAllowed(verdict);
}
