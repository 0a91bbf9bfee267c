import type { BlockList } from 'node:net';
import type { Caller, Credentials } from '../edge/credentials.js';
import type { Principal } from '../edge/principal.js';
import type { Quotas } from '../edge/quota.js';
import { assertAllowed, type LimitVerdict, type RateLimiter } from '../edge/rate-limiter.js';
import { remoteAddress } from '../edge/remote-address.js';
import { assertPermission } from '../edge/scope.guard.js';

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
   * @throws AppError UNAUTHENTICATED, PERMISSION_DENIED, RATE_LIMITED, UNAVAILABLE
   */
  async admit(
    { headers, remoteAddress: peer }: Caller,
    onVerdict: (verdict: LimitVerdict) => void,
  ): Promise<Principal> {
    const sender = remoteAddress(peer, headers['x-forwarded-for'], this.proxies);
    let principal: Principal | undefined;
    let refusal: unknown;
    try {
      principal = await this.credentials.resolve({ headers, remoteAddress: sender });
    } catch (error) {
      refusal = error;
    }
    const taken = this.limiter.take('ingestion', principal, sender);
    const verdict = taken instanceof Promise ? await taken : taken;
    if (verdict) {
      onVerdict(verdict);
      assertAllowed(verdict);
    }
    if (!principal) throw refusal;
    assertPermission(principal.permissions, 'ingest');
    const loading = this.quotas.assertLeft(principal.scope);
    if (loading) await loading;
    return principal;
  }
}
