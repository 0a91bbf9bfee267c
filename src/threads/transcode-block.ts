import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import type { Signal } from '../signal.js';
import { Transcoder } from '../transcode/transcoder.js';
import type { NativeFile, TranscodeRequest } from './thread-messages.js';

/** They keep their column buffers from batch to batch. */
const transcoders = new Map<Signal, Transcoder>();

/** Writes a batch as one Native block into its file; for a thread or process that does nothing else meanwhile. */
export function transcodeBlock(request: TranscodeRequest): NativeFile {
  const transcoder = transcoders.get(request.signal) ?? new Transcoder(request.signal);
  transcoders.set(request.signal, transcoder);
  try {
    for (const entry of request.entries) transcoder.add(entry.body, entry.window);
    const { times } = transcoder;
    const block = transcoder.finish();
    return {
      rows: block.rows,
      columns: block.columns,
      structure: block.structure,
      times,
      fileBytes: writeFile(request.file, block.chunks),
    };
  } catch (error) {
    // Half a batch must not be waiting in the buffers when the next one comes.
    transcoders.delete(request.signal);
    throw error;
  }
}

function writeFile(path: string, chunks: Uint8Array[]): number {
  const file = openSync(path, 'w');
  let total = 0;
  try {
    for (const chunk of chunks) {
      for (let written = 0; written < chunk.length; ) written += writeSync(file, chunk, written);
      total += chunk.length;
    }
    return total;
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
}
