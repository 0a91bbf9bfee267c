import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { Program } from './server.js';

const MAX_START_MS = 60_000;

/** The program without the role `api`, started. */
export class WorkerProcess {
  private constructor(
    readonly program: Program,
    /** Where its health and metrics are. */
    readonly url: string,
  ) {}

  /** @throws AssertionError when it ends before it runs */
  static async start(dataDir: string, env: Record<string, string>): Promise<WorkerProcess> {
    const settings = { DATA_DIR: dataDir, PORT: '0', TF_ROLES: 'worker', LOG_LEVEL: 'info', ...env };
    const program = new Program(['start'], settings);
    for (const deadline = Date.now() + MAX_START_MS; ; await sleep(10)) {
      const url = /Health\s+(http:\S+?)\/health\/ready/.exec(program.stdout)?.[1];
      if (url) return new WorkerProcess(program, url);
      assert.ok(program.isRunning && Date.now() < deadline, `The worker did not start:\n${program.output}`);
    }
  }

  async kill(): Promise<void> {
    this.program.child.kill('SIGKILL');
    await this.program.exited;
  }

  async stop(): Promise<void> {
    this.program.child.kill('SIGTERM');
    assert.deepEqual(await this.program.exited, { code: 0, signal: null }, this.program.output);
  }
}
