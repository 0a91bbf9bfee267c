import { join } from 'node:path';
import { removeIfThere, writeDurably } from '../journal/durable-files.js';
import type { FileSystem } from '../journal/file-system.js';

const NAME = 'paused';

/** Whether the queue is paused: a file, so that it is still known after a restart. */
export class PauseFlag {
  private constructor(
    private readonly fs: FileSystem,
    private readonly directory: string,
    private on: boolean,
  ) {}

  static async load(fs: FileSystem, directory: string): Promise<PauseFlag> {
    return new PauseFlag(fs, directory, (await fs.list(directory)).includes(NAME));
  }

  get isOn(): boolean {
    return this.on;
  }

  /** Durable when it resolves. */
  async turnOn(): Promise<void> {
    await writeDurably(this.fs, join(this.directory, NAME), [Buffer.from('\n')]);
    this.on = true;
  }

  /** Durable when it resolves. */
  async turnOff(): Promise<void> {
    await removeIfThere(this.fs, join(this.directory, NAME));
    await this.fs.syncDirectory(this.directory);
    this.on = false;
  }
}

/** How many things were started in the second that runs; more wait for the next one. Monotonic clock. */
export class StartRate {
  private secondStartedMs = Number.NEGATIVE_INFINITY;
  private count = 0;

  constructor(private readonly perSecond: number) {}

  /** 0: one more may start now. */
  waitMs(nowMs: number): number {
    if (nowMs - this.secondStartedMs >= 1000 || this.count < this.perSecond) return 0;
    return this.secondStartedMs + 1000 - nowMs;
  }

  started(nowMs: number): void {
    if (nowMs - this.secondStartedMs >= 1000) {
      this.secondStartedMs = nowMs;
      this.count = 0;
    }
    this.count++;
  }
}
