import { MessageChannel } from 'node:worker_threads';

/** Below this a buffer costs less when it is left to the garbage collector. */
const WORTH_BYTES = 16 * 1024;

const nowhere = new MessageChannel().port1;
nowhere.close();

/**
 * Gives the memory of `bytes` back at once, if it is alone in it; `bytes` is empty afterwards.
 *
 * Node copies what comes in on a connection into a new buffer per 64 KiB. Left to V8, these make it collect its whole heap
 * every 64 MB: 23 us of CPU time a buffer with a heap of 40 MB. Moving the buffer to a port that is closed frees it, in 2 us.
 */
export function freeMemory(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (bytes.length < WORTH_BYTES || buffer.byteLength !== bytes.length) return;
  if (buffer instanceof ArrayBuffer) nowhere.postMessage(null, [buffer]);
}
