import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { AppError } from '../errors.js';
import {
  type NativeFile,
  resultOf,
  type ThreadAnswer,
  ThreadError,
  type TranscodeRequest,
  type TrialRequest,
} from './thread-messages.js';

const CHILD = fileURLToPath(new URL('./transcode.trial.js', import.meta.url));
/** The largest batch takes about a second; one that hangs must not keep other suspects waiting for ever. */
const MAX_MS = 120_000;

/** The process in which a batch was tried ended, or hung and was ended. Nothing else was in it. */
export class TrialLost extends ThreadError {
  override readonly name = 'TrialLost';
}

/** Transcodes what may end a process in one that nothing else depends on, one batch at a time. */
export class TranscodeTrial {
  private last: Promise<unknown> = Promise.resolve();

  /**
   * @param maxHeapMb V8 heap of the process
   * @param failpoint the setting FAILPOINT
   */
  constructor(
    private readonly maxHeapMb: number,
    private readonly failpoint: string | undefined,
  ) {}

  /** As `TranscodeThread.transcode`. @throws TrialLost, AppError UNAVAILABLE when the machine has no room for a process */
  transcode(request: TranscodeRequest): Promise<NativeFile> {
    const result = this.last.then(() => this.run(request));
    this.last = result.catch(() => undefined);
    return result;
  }

  private run({ entries, ...request }: TranscodeRequest): Promise<NativeFile> {
    // In a process group of its own: Ctrl-C is for the program.
    const child = fork(CHILD, {
      serialization: 'advanced',
      execArgv: [`--max-old-space-size=${this.maxHeapMb}`],
      detached: true,
    });
    return new Promise<NativeFile>((resolve, reject) => {
      const timer = setTimeout(() => child.kill('SIGKILL'), MAX_MS);
      child.once('error', (cause) =>
        reject(new AppError('UNAVAILABLE', 'No process can be started to try a batch in', { cause })),
      );
      child.once('exit', (code, signal) => {
        clearTimeout(timer);
        reject(new TrialLost(`The process that tried it ended with ${signal ?? code}`));
      });
      child.once('message', (answer: ThreadAnswer) => {
        try {
          resolve(resultOf(answer) as NativeFile);
        } catch (error) {
          reject(error);
        }
        child.kill('SIGKILL');
      });
      // Memory that threads share cannot be sent.
      const copies = entries.map(({ window, body }) => ({ window, body: Buffer.from(body) }));
      const trial: TrialRequest = { failpoint: this.failpoint, request: { ...request, entries: copies } };
      // Without a receiver it ends, which is told above.
      child.send(trial, () => undefined);
    });
  }
}
