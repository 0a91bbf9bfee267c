import { Worker } from 'node:worker_threads';
import { reachBody } from '../failpoints.js';
import type { CheckResult } from '../otlp/check.js';
import {
  type CheckedBody,
  type NativeFile,
  resultOf,
  type ThreadAnswer,
  ThreadError,
  type ThreadRequest,
  type ThreadResult,
  type TranscodeRequest,
} from './thread-messages.js';
import { TranscodeTrial } from './trial.js';

interface Pending {
  resolve(value: ThreadResult): void;
  reject(error: Error): void;
}

/**
 * The main thread's end of one worker thread. It is started at the first request and again after it died, so that one
 * body that takes a thread down (out of memory, say) costs only what was in it.
 */
export class TranscodeThread {
  private worker: Worker | undefined;
  private readonly pending = new Map<number, Pending>();
  private lastId = 0;

  /** @param maxHeapMb V8 heap of the thread; its bodies and columns live outside of it */
  constructor(
    private readonly name: string,
    private readonly maxHeapMb: number,
  ) {}

  /** Checks a protobuf body. @throws AppError MALFORMED_BODY */
  check(request: Omit<Extract<ThreadRequest, { kind: 'check' }>, 'kind'>): Promise<CheckResult> {
    return this.ask<CheckResult>({ kind: 'check', ...request });
  }

  /** Turns an OTLP/JSON body into a new one of protobuf and checks that. @throws AppError MALFORMED_BODY */
  json(request: Omit<Extract<ThreadRequest, { kind: 'json' }>, 'kind'>): Promise<CheckedBody> {
    return this.ask<CheckedBody>({ kind: 'json', ...request });
  }

  /** Writes a batch as one Native block into `file`. The bodies are not read any more when this settles. */
  transcode(request: TranscodeRequest): Promise<NativeFile> {
    return this.ask<NativeFile>({ kind: 'transcode', ...request });
  }

  /** Requests that it has not answered. */
  get load(): number {
    return this.pending.size;
  }

  /** Ends the thread; what is pending fails. */
  async close(): Promise<void> {
    await this.worker?.terminate();
  }

  private ask<T extends ThreadResult>(request: ThreadRequest): Promise<T> {
    this.worker ??= this.start();
    const id = ++this.lastId;
    return new Promise<T>((resolve, reject) => {
      this.pending.set(id, { resolve: resolve as Pending['resolve'], reject });
      this.worker!.postMessage({ id, request });
    });
  }

  private start(): Worker {
    const worker = new Worker(new URL('./transcode.thread.js', import.meta.url), {
      name: this.name,
      resourceLimits: { maxOldGenerationSizeMb: this.maxHeapMb },
    });
    worker.on('message', (answer: ThreadAnswer) => this.settle(answer));
    worker.on('error', (error) => this.lose(worker, error));
    worker.on('exit', () => this.lose(worker, new Error('the thread ended')));
    worker.unref();
    return worker;
  }

  private settle(answer: ThreadAnswer): void {
    const pending = this.pending.get(answer.id);
    this.pending.delete(answer.id);
    try {
      pending?.resolve(resultOf(answer));
    } catch (error) {
      pending?.reject(error as Error);
    }
  }

  private lose(worker: Worker, cause: Error): void {
    if (this.worker !== worker) return;
    this.worker = undefined;
    const lost = [...this.pending.values()];
    this.pending.clear();
    for (const pending of lost) {
      // Not a passing fault: what was in the thread may be what took it down, so it counts as a try.
      pending.reject(new ThreadError(`The ${this.name} thread was lost: ${cause.message}`, { cause }));
    }
  }
}

/** Threads that make batches, one for each core beside the main thread's. */
export class TranscodePool {
  private readonly threads: readonly TranscodeThread[];
  private readonly trial: TranscodeTrial;

  /** @param failpoint the setting FAILPOINT */
  constructor(
    readonly size: number,
    name: string,
    maxHeapMb: number,
    failpoint: string | undefined,
  ) {
    this.threads = Array.from({ length: size }, (_, i) => new TranscodeThread(`${name}-${i + 1}`, maxHeapMb));
    this.trial = new TranscodeTrial(maxHeapMb, failpoint);
  }

  /** As `TranscodeThread.transcode`, on the one that has the least to do. */
  async transcode(request: TranscodeRequest): Promise<NativeFile> {
    for (const { body } of request.entries) reachBody(body);
    return this.threads.reduce((a, b) => (b.load < a.load ? b : a)).transcode(request);
  }

  /** The same in a process of its own, for what may end the one that it is done in. @throws TrialLost */
  transcodeApart(request: TranscodeRequest): Promise<NativeFile> {
    return this.trial.transcode(request);
  }
}
