import { Worker } from 'node:worker_threads';
import { AppError } from '../errors.js';
import { reachBody } from '../failpoints.js';
import type { CheckResult } from '../otlp/check.js';
import type {
  CheckedBody,
  NativeFile,
  ThreadAnswer,
  ThreadRequest,
  ThreadResult,
} from './thread-messages.js';

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
  transcode(request: Omit<Extract<ThreadRequest, { kind: 'transcode' }>, 'kind'>): Promise<NativeFile> {
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
    if ('value' in answer) {
      pending?.resolve(answer.value);
      return;
    }
    const { code, message, stack } = answer.error;
    const error = code ? new AppError(code, message) : new Error(message);
    if (!code && stack) error.stack = stack;
    pending?.reject(error);
  }

  private lose(worker: Worker, cause: Error): void {
    if (this.worker !== worker) return;
    this.worker = undefined;
    const lost = [...this.pending.values()];
    this.pending.clear();
    for (const pending of lost) {
      // Not a passing fault: what was in the thread may be what took it down, so it counts as a try.
      pending.reject(new Error(`The ${this.name} thread was lost: ${cause.message}`, { cause }));
    }
  }
}

type TranscodeRequest = Parameters<TranscodeThread['transcode']>[0];

/** Threads that make batches, one for each core beside the main thread's. */
export class TranscodePool {
  private readonly threads: readonly TranscodeThread[];
  private readonly working = new Set<Promise<unknown>>();
  /** Has the threads for itself, once the others are through. */
  private alone: Promise<unknown> | undefined;

  constructor(
    readonly size: number,
    name: string,
    maxHeapMb: number,
  ) {
    this.threads = Array.from({ length: size }, (_, i) => new TranscodeThread(`${name}-${i + 1}`, maxHeapMb));
  }

  /** As `TranscodeThread.transcode`, on the one that has the least to do. */
  async transcode(request: TranscodeRequest): Promise<NativeFile> {
    while (this.alone) await this.alone.catch(() => undefined);
    const working = this.run(request);
    this.working.add(working);
    try {
      return await working;
    } finally {
      this.working.delete(working);
    }
  }

  /**
   * The same while nothing else is transcoded in this process: if it ends, it was this.
   *
   * @param note is told just before and just after
   */
  async transcodeAlone(
    request: TranscodeRequest,
    note: (isRunning: boolean) => Promise<void>,
  ): Promise<NativeFile> {
    while (this.alone) await this.alone.catch(() => undefined);
    const alone = this.tryOut(request, note);
    this.alone = alone;
    try {
      return await alone;
    } finally {
      this.alone = undefined;
    }
  }

  private async tryOut(
    request: TranscodeRequest,
    note: (isRunning: boolean) => Promise<void>,
  ): Promise<NativeFile> {
    await Promise.allSettled(this.working);
    // So that it does not last as long as the start of a thread.
    await this.run({ ...request, entries: [] });
    await note(true);
    try {
      return await this.run(request);
    } finally {
      await note(false);
    }
  }

  private async run(request: TranscodeRequest): Promise<NativeFile> {
    for (const { body } of request.entries) reachBody(body);
    return this.threads.reduce((a, b) => (b.load < a.load ? b : a)).transcode(request);
  }
}
