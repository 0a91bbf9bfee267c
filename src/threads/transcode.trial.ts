import { armFailpoint, reachBody } from '../failpoints.js';
import { answerOf, type TrialRequest } from './thread-messages.js';
import { transcodeBlock } from './transcode-block.js';

/** A process for one batch that may end the process it is worked on in (trial.ts). Whoever started it ends it. */
process.once('message', ({ failpoint, request }: TrialRequest) => {
  armFailpoint(failpoint);
  const answer = answerOf(1, () => {
    for (const { body } of request.entries) reachBody(body);
    return transcodeBlock(request);
  });
  process.send!(answer);
});
process.on('disconnect', () => process.exit());
// Told to the whole service: an orderly stop waits for the batch, and an end of this process would be held against it.
process.on('SIGTERM', () => undefined);
