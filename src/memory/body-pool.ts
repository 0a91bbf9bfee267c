/** Smallest piece of memory lent. */
const MIN_BYTES = 4096;
/** How often memory that nobody wanted in the meantime is given up. */
const TRIM_MS = 5000;

/** Sizes grow by quarters of a power of two, so that at most a fifth of a piece is not used. */
export function pieceBytes(bytes: number): number {
  if (bytes <= MIN_BYTES) return MIN_BYTES;
  const step = 2 ** Math.floor(Math.log2(bytes - 1)) / 4;
  return Math.ceil(bytes / step) * step;
}

/**
 * Memory for request bodies, used again and again.
 *
 * A buffer per request made V8 collect the whole heap of the main thread 24 times for a million spans, since what is
 * outside of its heap presses on it: a fifth of all CPU time, with pauses of up to 20 ms, and the kernel cleared every page anew.
 * The memory is shared between threads, so a body reaches the transcoder by reference.
 *
 * Whoever has a body last gives it back, that very object: giving back twice, a part of it, or what is not from here does
 * nothing. Reading a body after that reads another one; of memory that is never given back V8 is told nothing.
 */
export class BodyPool {
  private readonly free = new Map<number, SharedArrayBuffer[]>();
  private readonly lent = new WeakSet<Uint8Array>();
  private freeBytes = 0;
  private inUseBytes = 0;
  private leastFreeBytes = 0;
  private trimming: NodeJS.Timeout | undefined;

  /** Bytes kept for the next bodies. */
  get idleBytes(): number {
    return this.freeBytes;
  }

  /** Bytes lent and not given back; what is forgotten stays in here. */
  get lentBytes(): number {
    return this.inUseBytes;
  }

  /** `bytes` of memory, not cleared. */
  take(bytes: number): Buffer {
    const size = pieceBytes(bytes);
    let piece = this.free.get(size)?.pop();
    if (piece) {
      this.freeBytes -= size;
      this.leastFreeBytes = Math.min(this.leastFreeBytes, this.freeBytes);
    } else {
      piece = new SharedArrayBuffer(size);
    }
    this.inUseBytes += size;
    return this.lend(piece, 0, bytes);
  }

  /** What becomes of `body` when only a part of it is wanted; `body` itself may not be used any more. */
  slice(body: Buffer, start: number, end: number): Buffer {
    if (!this.lent.delete(body)) return body.subarray(start, end);
    return this.lend(body.buffer as SharedArrayBuffer, body.byteOffset + start, end - start);
  }

  /** The first `used` bytes in other memory of `size` bytes; `body` is given back. */
  grow(body: Buffer, used: number, size: number): Buffer {
    const larger = this.take(size);
    body.copy(larger, 0, 0, used);
    this.give(body);
    return larger;
  }

  /** The same bytes in memory from here. */
  copyOf(bytes: Uint8Array): Buffer {
    const copy = this.take(bytes.length);
    copy.set(bytes);
    return copy;
  }

  /** Whether `body` is from here and was not given back yet. */
  isLent(body: Uint8Array): boolean {
    return this.lent.has(body);
  }

  /** Nobody reads `body` any more. */
  give(body: Uint8Array): void {
    if (!this.lent.delete(body)) return;
    const piece = body.buffer as SharedArrayBuffer;
    const pieces = this.free.get(piece.byteLength);
    if (pieces) pieces.push(piece);
    else this.free.set(piece.byteLength, [piece]);
    this.freeBytes += piece.byteLength;
    this.inUseBytes -= piece.byteLength;
    this.trimming ??= setInterval(() => this.trim(), TRIM_MS).unref();
  }

  private lend(piece: SharedArrayBuffer, offset: number, bytes: number): Buffer {
    const body = Buffer.from(piece, offset, bytes);
    this.lent.add(body);
    return body;
  }

  /** Gives up half of what was never wanted since the last time, all of it in the end. */
  private trim(): void {
    let excess = Math.max(this.leastFreeBytes / 2, this.leastFreeBytes === this.freeBytes ? MIN_BYTES : 0);
    for (const [size, pieces] of [...this.free].sort(([a], [b]) => b - a)) {
      for (; excess > 0 && pieces.length > 0; excess -= size) {
        pieces.pop();
        this.freeBytes -= size;
      }
    }
    this.leastFreeBytes = this.freeBytes;
    if (this.freeBytes > 0) return;
    clearInterval(this.trimming);
    this.trimming = undefined;
  }
}
