import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { AppError } from '../errors.js';
import { type CheckResult, checkBody } from '../otlp/check.js';
import { jsonToProtobuf } from '../otlp/json.js';
import type { Signal } from '../signal.js';
import { Transcoder } from '../transcode/transcoder.js';
import type { NativeFile, ThreadAnswer, ThreadRequest, ThreadResult } from './thread-messages.js';

/**
 * A worker thread: everything that would hold the event loop for more than a few milliseconds happens here.
 * One request at a time; transcoders keep their column buffers from batch to batch.
 */
const transcoders = new Map<Signal, Transcoder>();

function transcode(request: Extract<ThreadRequest, { kind: 'transcode' }>): NativeFile {
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

function answer(request: ThreadRequest): ThreadResult {
  if (request.kind === 'transcode') return transcode(request);
  const check = (body: Uint8Array): CheckResult => checkBody(request.signal, body, request.window);
  if (request.kind === 'check') return check(request.body);
  const body = jsonToProtobuf(request.signal, request.body);
  return { body, result: check(body) };
}

parentPort!.on('message', ({ id, request }: { id: number; request: ThreadRequest }) => {
  let reply: ThreadAnswer;
  const moved: ArrayBuffer[] = [];
  try {
    const value = answer(request);
    if ('body' in value) moved.push(value.body.buffer as ArrayBuffer);
    reply = { id, value };
  } catch (thrown) {
    const error = thrown as Error;
    const code = thrown instanceof AppError ? thrown.code : undefined;
    reply = { id, error: { code, message: error.message, stack: error.stack } };
  }
  parentPort!.postMessage(reply, moved);
});
