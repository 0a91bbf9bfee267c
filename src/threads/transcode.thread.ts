import { parentPort } from 'node:worker_threads';
import { type CheckResult, checkBody } from '../otlp/check.js';
import { jsonToProtobuf } from '../otlp/json.js';
import { answerOf, type ThreadRequest, type ThreadResult } from './thread-messages.js';
import { transcodeBlock } from './transcode-block.js';

/**
 * A worker thread: everything that would hold the event loop for more than a few milliseconds happens here.
 * One request at a time.
 */
function work(request: ThreadRequest): ThreadResult {
  if (request.kind === 'transcode') return transcodeBlock(request);
  const check = (body: Uint8Array): CheckResult => checkBody(request.signal, body, request.window);
  if (request.kind === 'check') return check(request.body);
  const body = jsonToProtobuf(request.signal, request.body);
  return { body, result: check(body) };
}

parentPort!.on('message', ({ id, request }: { id: number; request: ThreadRequest }) => {
  const moved: ArrayBuffer[] = [];
  const answer = answerOf(id, () => {
    const value = work(request);
    if ('body' in value) moved.push(value.body.buffer as ArrayBuffer);
    return value;
  });
  parentPort!.postMessage(answer, moved);
});
