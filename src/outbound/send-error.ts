interface Options {
  /** What the receiver answered: an HTTP status or an SMTP reply code. */
  status?: number;
  /** Trying again can't help. */
  isPermanent?: boolean;
  /** The receiver wants to be left alone for so long. */
  retryAfterMs?: number;
  cause?: unknown;
}

/** A message did not get through. The text is our own: it holds no secret and nothing that the receiver said. */
export class SendError extends Error {
  override readonly name: string = 'SendError';
  readonly status: number | undefined;
  readonly isPermanent: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(message: string, { status, isPermanent = false, retryAfterMs, cause }: Options = {}) {
    super(message, { cause });
    this.status = status;
    this.isPermanent = isPermanent;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The receiver is where nothing is sent to: in a private network, or no host at all. */
export class RefusedError extends SendError {
  override readonly name = 'RefusedError';

  constructor(message: string) {
    super(message, { isPermanent: true });
  }
}
