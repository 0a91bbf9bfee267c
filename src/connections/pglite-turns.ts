import type { PGlite } from '@electric-sql/pglite';

/** What a client's message brings back; the library's own queue has the same shape. */
interface Waiting {
  handlerId: number;
  message: Uint8Array;
  onData: (data: Uint8Array) => void;
  resolve: (bytes: number) => void;
  reject: (error: unknown) => void;
}

type Database = Pick<PGlite, 'runExclusive' | 'execProtocolRawStream' | 'execProtocolRaw'>;

const QUERY = 'Q'.charCodeAt(0);
const SYNC = 'S'.charCodeAt(0);
const TERMINATE = 'X'.charCodeAt(0);
const READY = [0x5a, 0, 0, 0, 5];
const IDLE = 'I'.charCodeAt(0);
const SYNC_MESSAGE = new Uint8Array([SYNC, 0, 0, 0, 4]);
const ROLLBACK_MESSAGE = new Uint8Array([QUERY, 0, 0, 0, 13, ...Buffer.from('ROLLBACK\0')]);

/**
 * Who of several clients may speak to the one session of PGlite. It is one client's from its first message until the session is idle
 * again, which is at the end of a query and of a transaction.
 *
 * The queue of pglite-socket 0.2.17 holds to a client while a transaction is open, and not between Parse, Bind and Execute: after a
 * transaction one client's Bind met another's statement, and of 7,618 queries of five clients 3,262 got wrong rows and 1,087 an error
 * (github.com/electric-sql/pglite/issues/1046). This one takes its place.
 */
export class PgliteTurns {
  private waiting: Waiting[] = [];
  private owner: number | undefined;
  private running: number | undefined;
  /** It left while its message was running. */
  private hasLeft = false;

  constructor(private readonly database: Database) {}

  /** Resolves with the number of bytes answered, when the message is worked off. */
  enqueue(handlerId: number, message: Uint8Array, onData: (data: Uint8Array) => void): Promise<number> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ handlerId, message, onData, resolve, reject });
      void this.run();
    });
  }

  getQueueLength(): number {
    return this.waiting.length;
  }

  /** What a client that left had still to say. */
  clearQueueForHandler(handlerId: number): void {
    const left = this.waiting.filter((one) => one.handlerId === handlerId);
    this.waiting = this.waiting.filter((one) => one.handlerId !== handlerId);
    for (const { reject } of left) reject(new Error('Handler disconnected'));
  }

  /** Ends what a client that left has begun, so that others get their turn. */
  async clearTransactionIfNeeded(handlerId: number): Promise<void> {
    if (this.running === handlerId) this.hasLeft = true;
    else if (this.owner === handlerId && this.running === undefined) {
      this.running = handlerId;
      await this.abandon().finally(() => {
        this.running = undefined;
      });
      await this.run();
    }
  }

  private async run(): Promise<void> {
    if (this.running !== undefined) return;
    for (let next = this.take(); next; next = this.take()) {
      this.running = next.handlerId;
      await this.execute(next);
      if (this.hasLeft) await this.abandon();
      this.hasLeft = false;
      this.running = undefined;
    }
  }

  private take(): Waiting | undefined {
    const { owner } = this;
    const index = owner === undefined ? 0 : this.waiting.findIndex(({ handlerId }) => handlerId === owner);
    return index < 0 ? undefined : this.waiting.splice(index, 1)[0];
  }

  private async execute({ handlerId, message, onData, resolve, reject }: Waiting): Promise<void> {
    this.owner = handlerId;
    let bytes = 0;
    let tail = new Uint8Array();
    try {
      await this.database.runExclusive(() =>
        this.database.execProtocolRawStream(message, {
          onRawData: (data) => {
            bytes += data.length;
            tail = tailOf(tail, data);
            onData(data);
          },
        }),
      );
      if (endsTurn(message, tail)) this.owner = undefined;
      resolve(bytes);
    } catch (error) {
      await this.abandon();
      reject(error);
    }
  }

  /** Brings the session back to where nobody has begun anything. */
  private async abandon(): Promise<void> {
    try {
      await this.database.runExclusive(async () => {
        await this.database.execProtocolRaw(SYNC_MESSAGE, { throwOnError: false });
        await this.database.execProtocolRaw(ROLLBACK_MESSAGE, { throwOnError: false });
      });
    } finally {
      this.owner = undefined;
    }
  }
}

/** The last bytes of an answer, as many as "ready for query" has. */
function tailOf(before: Uint8Array, data: Uint8Array): Uint8Array<ArrayBuffer> {
  const size = READY.length + 1;
  return new Uint8Array(data.length >= size ? data.slice(-size) : [...before, ...data].slice(-size));
}

/** A session is idle when the answer ends with "ready for query, no transaction", and that ends a query or a Sync. */
function endsTurn(message: Uint8Array, tail: Uint8Array): boolean {
  const type = message[0];
  // What has no type is the beginning of a connection: its first byte is of the length.
  if (type === TERMINATE || type === 0) return true;
  if (type !== QUERY && type !== SYNC) return false;
  return READY.every((byte, i) => tail[i] === byte) && tail[READY.length] === IDLE;
}
