import type { ServerHttp2Stream } from 'node:http2';
import { AppError } from '../errors.js';
import type { BodyPool } from '../memory/body-pool.js';
import { ClientGone, MAX_UNSEEN_BYTES, type Reserve, tooLarge } from './body.js';

/** Before every message: one byte whether it is compressed, four bytes how long it is, big-endian. */
export const PREFIX_BYTES = 5;

/** What a sender is given room for before more of its message arrived. */
const FIRST_BYTES = 64 * 1024;

export interface GrpcMessage {
  body: Buffer;
  isCompressed: boolean;
}

/**
 * Reads the one message of a unary call into memory of the pool, which the caller gives back. Room is asked for as bytes arrive, not as they are announced; meanwhile HTTP/2's flow control holds the sender.
 */
export class MessageReader {
  private prefix: Buffer = Buffer.alloc(0);
  private body: Buffer | undefined;
  private length = 0;
  private used = 0;
  private reserved = 0;
  private isCompressed = false;
  private reserve: Reserve | undefined;
  private room: ReturnType<Reserve> = undefined;
  private reject: ((error: unknown) => void) | undefined;
  private isSettled = false;

  constructor(
    private readonly stream: ServerHttp2Stream,
    private readonly maxBytes: number,
    private readonly bodies: BodyPool,
  ) {}

  /**
   * @throws AppError BODY_TOO_LARGE as soon as the length is known, MALFORMED_BODY when it is not one whole message;
   *   ClientGone when the call was cancelled; what `reserve` and `fail` throw. The rest is then dropped as it comes
   */
  read(reserve: Reserve): Promise<GrpcMessage> {
    this.reserve = reserve;
    const { stream } = this;
    return new Promise((resolve, reject) => {
      this.reject = reject;
      stream.on('data', this.take);
      stream.on('end', () => {
        if (!this.body || this.used < this.length) {
          this.fail(malformed(`it ended after ${this.used} bytes`));
          return;
        }
        const { body, isCompressed } = this;
        const settle = () => {
          if (this.isSettled) return;
          this.isSettled = true;
          resolve({ body: this.bodies.slice(body, 0, this.used), isCompressed });
        };
        if (this.room) this.room.then(settle, (error) => this.fail(error));
        else settle();
      });
      // Not before it is needed: an error takes the time of its stack.
      const gone = () => this.isSettled || this.fail(new ClientGone());
      stream.on('close', gone);
      if (stream.destroyed) gone();
    });
  }

  /** Gives up reading, for this reason; without effect when the message was handed out. */
  fail(error: unknown): void {
    if (this.isSettled) return;
    this.isSettled = true;
    this.stream.removeListener('data', this.take);
    this.stream.resume();
    if (this.body) this.bodies.give(this.body);
    this.reject?.(error);
  }

  private readonly take = (chunk: Buffer): void => {
    const content = this.body ? chunk : this.begin(chunk);
    if (!content || !this.body) return;
    const needed = this.used + content.length;
    if (needed > this.length) {
      this.fail(malformed('more follows after the message'));
      return;
    }
    if (needed > this.body.length) {
      const size = Math.min(Math.max(needed, this.body.length * 2), this.length);
      this.body = this.bodies.grow(this.body, this.used, size);
    }
    content.copy(this.body, this.used);
    this.used = needed;
    if (needed > this.reserved) this.makeRoom();
  };

  /** Reads the prefix; the bytes behind it, undefined when there are none to be had. */
  private begin(chunk: Buffer): Buffer | undefined {
    const start = this.prefix.length === 0 ? chunk : Buffer.concat([this.prefix, chunk]);
    if (start.length < PREFIX_BYTES) {
      this.prefix = Buffer.from(start);
      return undefined;
    }
    this.isCompressed = start[0] === 1;
    this.length = start.readUInt32BE(1);
    if (start[0] > 1) this.fail(malformed(`its first byte is ${start[0]}, not 0 or 1`));
    else if (this.length > this.maxBytes) this.fail(tooLarge('message', this.maxBytes));
    else this.body = this.bodies.take(Math.min(this.length, MAX_UNSEEN_BYTES));
    return start.subarray(PREFIX_BYTES);
  }

  private makeRoom(): void {
    this.reserved = Math.min(Math.max(FIRST_BYTES, this.used, this.reserved * 2), this.length);
    this.room = this.reserve!(this.reserved);
    // What is whole already has nothing to hold back: it waits for its room at the end.
    const isWhole = this.used === this.length;
    if (!this.room) return;
    if (!isWhole) this.stream.pause();
    this.room.then(
      () => isWhole || this.stream.resume(),
      (error) => this.fail(error),
    );
  }
}

function malformed(why: string): AppError {
  return new AppError('MALFORMED_BODY', `The request is not one gRPC message: ${why}.`);
}
