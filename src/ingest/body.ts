import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { gunzip, inflate, inflateRaw } from 'node:zlib';
import { AppError } from '../errors.js';
import type { BodyPool } from '../memory/body-pool.js';
import { freeMemory } from '../memory/free-memory.js';

const gunzipAsync = promisify(gunzip);
const inflateAsync = promisify(inflate);
const inflateRawAsync = promisify(inflateRaw);

const MIN_CHUNK_BYTES = 16 * 1024;
const MAX_CHUNK_BYTES = 4 * 1024 * 1024;

/** What a sender is given room for before anything arrived. */
export const FIRST_BYTES = 64 * 1024;
/** An announced length is taken at once up to this. */
export const MAX_UNSEEN_BYTES = 1024 * 1024;

export type Compression = 'identity' | 'gzip' | 'deflate';

/** The sender went away before its body was whole; nobody is left to answer. */
export class ClientGone extends Error {}

/** @throws AppError UNSUPPORTED_MEDIA_TYPE naming what is allowed */
export function compressionOf(contentEncoding: string | undefined): Compression {
  const name = contentEncoding?.trim().toLowerCase() || 'identity';
  if (name === 'identity' || name === 'gzip' || name === 'deflate') return name;
  if (name === 'x-gzip') return 'gzip';
  throw new AppError(
    'UNSUPPORTED_MEDIA_TYPE',
    `Content-Encoding ${name} is not supported; use gzip, deflate or none.`,
  );
}

/** The error of a body over a limit; `what` is over it. */
export function tooLarge(what: string, maxBytes: number): AppError {
  return new AppError(
    'BODY_TOO_LARGE',
    `The ${what} is larger than the allowed ${maxBytes} bytes; send smaller batches.`,
  );
}

/** The announced length of a body, undefined when it is chunked. @throws AppError BODY_TOO_LARGE */
export function announcedLength(request: IncomingMessage, maxBytes: number): number | undefined {
  const header = request.headers['content-length'];
  if (header === undefined) return undefined;
  if (Number(header) > maxBytes) throw tooLarge('body', maxBytes);
  return Number(header);
}

/** Asks for room for the first `bytes` of a body; a promise where it has to be waited for, which rejects when there is none. */
export type Reserve = (bytes: number) => undefined | Promise<void>;

/**
 * Reads a whole body into memory of the pool, which the caller gives back. Room is asked for as bytes arrive, not as they are announced: many senders announce much and send it slowly, or announce nothing.
 *
 * @throws AppError BODY_TOO_LARGE as soon as the limit is passed, ClientGone when the sender hangs up, and what `reserve`
 *   throws; the rest of the body is then dropped as it comes
 */
export function readBody(
  request: IncomingMessage,
  length: number | undefined,
  maxBytes: number,
  pool: BodyPool,
  reserve: Reserve = () => undefined,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let body = pool.take(Math.min(length ?? FIRST_BYTES, MAX_UNSEEN_BYTES));
    let used = 0;
    let reserved = 0;
    const fail = (error: unknown) => {
      request.removeListener('data', take);
      if (!isWhole) pool.give(body);
      reject(error);
    };
    let isWhole = false;
    const drop = (error: unknown) => {
      request.on('data', freeMemory);
      request.resume();
      fail(error);
    };
    const makeRoom = (bytes: number) => {
      reserved = bytes;
      const waiting = reserve(bytes);
      if (!waiting) return;
      request.pause();
      waiting.then(() => request.resume(), drop);
    };
    const take = (chunk: Buffer) => {
      const needed = used + chunk.length;
      if (needed > maxBytes) return drop(tooLarge('body', maxBytes));
      if (needed > body.length)
        body = pool.grow(body, used, Math.max(needed, Math.min(body.length * 2, maxBytes)));
      chunk.copy(body, used);
      freeMemory(chunk);
      used = needed;
      if (used > reserved) makeRoom(Math.min(Math.max(used, reserved * 2), length ?? maxBytes));
    };
    request.on('data', take);
    request.on('end', () => {
      isWhole = true;
      resolve(pool.slice(body, 0, used));
    });
    // Every request closes, and an error with its stack costs as much as the check of a small body.
    const gone = () => {
      if (!isWhole) fail(new ClientGone());
    };
    request.on('error', gone);
    request.on('close', gone);
    makeRoom(Math.min(length ?? FIRST_BYTES, FIRST_BYTES));
  });
}

/**
 * How large a gzip body says it becomes (RFC 1952, ISIZE): its last four bytes, modulo 2^32. A hint only: it sizes the
 * output buffer, the limit is enforced on what really comes out.
 */
export function inflatedSizeHint(body: Buffer, compression: Compression): number {
  if (compression === 'gzip' && body.length >= 18) return body.readUInt32LE(body.length - 4);
  return body.length * 8;
}

/**
 * Decompresses off the main thread into memory of the pool, never past `maxBytes` of output: a bomb costs no more than the
 * limit. `body` stays the caller's.
 *
 * @throws AppError BODY_TOO_LARGE, or MALFORMED_BODY when the bytes are not what Content-Encoding says or are cut off
 */
export async function decompress(
  body: Buffer,
  compression: 'gzip' | 'deflate',
  maxBytes: number,
  pool: BodyPool,
): Promise<Buffer> {
  const hint = inflatedSizeHint(body, compression) + 1;
  const options = {
    maxOutputLength: maxBytes,
    chunkSize: Math.min(Math.max(hint, MIN_CHUNK_BYTES), MAX_CHUNK_BYTES),
  };
  try {
    // zlib brings memory of its own; what is kept of it is kept here.
    const inflated = await decompressorOf(body, compression)(body, options);
    const kept = pool.copyOf(inflated);
    freeMemory(inflated);
    return kept;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE')
      throw tooLarge('decompressed body', maxBytes);
    throw new AppError(
      'MALFORMED_BODY',
      `The body is not whole, valid ${compression}: ${(error as Error).message}.`,
    );
  }
}

/** `deflate` is the zlib format by RFC 9110, but some clients send the bare stream; the first byte tells them apart. */
function decompressorOf(body: Buffer, compression: 'gzip' | 'deflate') {
  if (compression === 'gzip') return gunzipAsync;
  return (body[0] & 0x0f) === 8 ? inflateAsync : inflateRawAsync;
}
