import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { gunzip, inflate, inflateRaw } from 'node:zlib';
import { AppError } from '../errors.js';

const gunzipAsync = promisify(gunzip);
const inflateAsync = promisify(inflate);
const inflateRawAsync = promisify(inflateRaw);

const MIN_CHUNK_BYTES = 16 * 1024;
const MAX_CHUNK_BYTES = 4 * 1024 * 1024;

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

function tooLarge(what: string, maxBytes: number): AppError {
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

/**
 * Reads a whole body into one buffer that owns its memory (it will be moved to another thread).
 *
 * @throws AppError BODY_TOO_LARGE as soon as the limit is passed, ClientGone when the sender hangs up
 */
export function readBody(
  request: IncomingMessage,
  length: number | undefined,
  maxBytes: number,
): Promise<Buffer<ArrayBuffer>> {
  return new Promise((resolve, reject) => {
    let body = Buffer.allocUnsafeSlow(length ?? 64 * 1024);
    let used = 0;
    request.on('data', (chunk: Buffer) => {
      const needed = used + chunk.length;
      if (needed > maxBytes) {
        request.removeAllListeners('data');
        return reject(tooLarge('body', maxBytes));
      }
      if (needed > body.length) {
        const larger = Buffer.allocUnsafeSlow(Math.min(Math.max(body.length * 2, needed), maxBytes));
        body.copy(larger, 0, 0, used);
        body = larger;
      }
      chunk.copy(body, used);
      used = needed;
    });
    request.on('end', () => resolve(used === body.length ? body : owned(body.subarray(0, used))));
    request.on('error', () => reject(new ClientGone()));
    request.on('close', () => reject(new ClientGone()));
  });
}

/** A copy that is alone in its memory. */
function owned(bytes: Uint8Array): Buffer<ArrayBuffer> {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
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
 * Decompresses off the main thread, never past `maxBytes` of output: a bomb costs no more than the limit.
 *
 * @throws AppError BODY_TOO_LARGE, or MALFORMED_BODY when the bytes are not what Content-Encoding says or are cut off
 */
export async function decompress(
  body: Buffer<ArrayBuffer>,
  compression: Compression,
  maxBytes: number,
): Promise<Buffer<ArrayBuffer>> {
  if (compression === 'identity') return body;
  const hint = inflatedSizeHint(body, compression) + 1;
  const options = {
    maxOutputLength: maxBytes,
    chunkSize: Math.min(Math.max(hint, MIN_CHUNK_BYTES), MAX_CHUNK_BYTES),
  };
  try {
    const inflated = await decompressorOf(body, compression)(body, options);
    return inflated.byteLength * 1.25 >= inflated.buffer.byteLength
      ? (inflated as Buffer<ArrayBuffer>)
      : owned(inflated);
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
