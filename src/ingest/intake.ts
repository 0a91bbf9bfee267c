import type { Logger } from 'pino';
import type { Caller } from '../edge/credentials.js';
import type { MaybeNow, Principal } from '../edge/principal.js';
import type { LimitVerdict } from '../edge/rate-limiter.js';
import { AppError } from '../errors.js';
import type { BodyPool } from '../memory/body-pool.js';
import { type ByteBudget, Holding } from '../memory/byte-budget.js';
import type { IngestCounters } from '../monitoring/ingest-counters.js';
import type { Signal } from '../signal.js';
import type { Accepted, Acceptor } from './acceptor.js';
import type { Admission } from './admission.js';
import { type Compression, decompress, inflatedSizeHint, type Reserve } from './body.js';
import { type Encoding, refusalOf } from './otlp-response.js';

export interface IntakeLimits {
  /** Of a body as it is sent. */
  maxBodyBytes: number;
  /** Of a body after decompression. */
  maxInflatedBytes: number;
}

/** A body on its way in, whatever carries it. */
export interface Sent {
  signal: Signal;
  encoding: Encoding;
  /** Reads it whole and as it was sent, into memory of the pool; asks for room as bytes arrive. */
  read(reserve: Reserve): Promise<{ body: Buffer; compression: Compression }>;
}

/** What every OTLP transport does alike: who are you, is there room, decompress, accept, count. */
export class Intake {
  private isStopping = false;

  constructor(
    private readonly admission: Admission,
    private readonly budget: ByteBudget,
    private readonly bodies: BodyPool,
    private readonly acceptor: Acceptor,
    readonly limits: IntakeLimits,
    private readonly counters: IngestCounters,
    private readonly log: Logger,
  ) {}

  /** From now on every request is told to try again, elsewhere or later. */
  stop(): void {
    this.isStopping = true;
  }

  /**
   * Whether a request may send anything at all, asked before its body is read; as `Admission.admit`.
   *
   * @throws AppError SHUTTING_DOWN too
   */
  admit(caller: Caller, onVerdict: (verdict: LimitVerdict) => void): MaybeNow<Principal> {
    if (this.isStopping) throw new AppError('SHUTTING_DOWN', 'This server is stopping; send this again.');
    return this.admission.admit(caller, onVerdict);
  }

  /**
   * Takes a body in: when this resolves, its good items are durable.
   *
   * @param startedAtMs when the request's head arrived, `performance.now()`
   * @throws ClientGone, and AppError of reading, decompressing (BODY_TOO_LARGE, MALFORMED_BODY), `Acceptor.accept`, and
   *   UNAVAILABLE when there is no room in time
   */
  async accept({ scope }: Principal, sent: Sent, startedAtMs: number): Promise<Accepted> {
    const accepted = await this.withBody(sent, (body) =>
      this.acceptor.accept(scope, sent.signal, sent.encoding, body),
    );
    this.counters.acknowledged(performance.now() - startedAtMs);
    return accepted;
  }

  /** The error that the client is told of; counted, and logged where it is a fault of ours. `path` and `correlationId` are for the log. */
  refusal(thrown: unknown, path: string | undefined, correlationId?: string | string[]): AppError {
    const error = refusalOf(thrown);
    if (error !== thrown)
      this.log.error({ err: thrown, path, correlation_id: correlationId }, 'OTLP request failed');
    this.counters.refused(error.code);
    return error;
  }

  /** Reads and decompresses within the budget, and keeps the budget until `use`, which takes the body over, is done. */
  private async withBody<T>(sent: Sent, use: (body: Buffer) => Promise<T>): Promise<T> {
    const { maxInflatedBytes } = this.limits;
    let holding = new Holding(this.budget);
    try {
      const { body, compression } = await sent.read((bytes) => holding.growTo(bytes));
      if (compression === 'identity') return await use(body);
      const expected = Math.min(inflatedSizeHint(body, compression) + 1, maxInflatedBytes);
      // What is held is given back before more is asked for: two of these never wait for each other.
      const swapFor = (bytes: number) => {
        holding.release();
        holding = new Holding(this.budget);
        return holding.growTo(bytes);
      };
      const inflate = async (): Promise<Buffer> => {
        try {
          await swapFor(expected);
          const inflated = await decompress(body, compression, expected, this.bodies).catch(onlyTooLarge);
          if (inflated) return inflated;
          await swapFor(maxInflatedBytes);
          return await decompress(body, compression, maxInflatedBytes, this.bodies);
        } finally {
          this.bodies.give(body);
        }
      };
      return await use(await inflate());
    } finally {
      holding.release();
    }
  }
}

function onlyTooLarge(error: unknown): undefined {
  if (error instanceof AppError && error.code === 'BODY_TOO_LARGE') return undefined;
  throw error;
}
