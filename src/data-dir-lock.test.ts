import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { lockDataDir } from './data-dir-lock.js';
import { StartupError } from './errors.js';

const folder = mkdtempSync(join(tmpdir(), 'tf-lock-'));
after(() => rmSync(folder, { recursive: true, force: true }));
let directories = 0;
const fresh = () => join(folder, String(directories++), 'data');
const refused = (directory: string, pid: number) =>
  assert.throws(
    () => lockDataDir(directory),
    (error: Error) => error instanceof StartupError && error.message.includes(`in use by process ${pid}`),
  );

/** This file again, as another process that takes the lock and says what came of it. */
function other(directory: string) {
  const child = fork(fileURLToPath(import.meta.url), [], {
    env: { ...process.env, LOCK_TEST_DIRECTORY: directory },
  });
  const said = new Promise<string>((resolve) => child.once('message', (message) => resolve(String(message))));
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  return { child, said, exited };
}

if (process.env.LOCK_TEST_DIRECTORY) {
  try {
    lockDataDir(process.env.LOCK_TEST_DIRECTORY);
    process.send?.('locked');
    setInterval(() => undefined, 1000);
  } catch (error) {
    process.send?.((error as Error).message);
    process.disconnect();
  }
} else {
  describe('The lock of a data directory', () => {
    it('makes the directory, and gives it up for the next', () => {
      const directory = fresh();
      const unlock = lockDataDir(directory);
      refused(directory, process.pid);
      unlock();
      unlock();
      lockDataDir(directory)();
      assert.deepEqual(readdirSync(directory), []);
    });

    it('refuses another live process by its pid, and is taken over at once when that was killed', async () => {
      const directory = fresh();
      const holder = other(directory);
      assert.equal(await holder.said, 'locked');
      refused(directory, holder.child.pid!);
      holder.child.kill('SIGKILL');
      await holder.exited;
      lockDataDir(directory)();
    });

    it('tells a process from a later one with the same pid', { skip: !existsSync('/proc/self/stat') }, () => {
      const directory = fresh();
      lockDataDir(directory)();
      const earlier = { pid: process.ppid, started: 'another boot/123' };
      writeFileSync(join(directory, 'lock'), JSON.stringify(earlier));
      lockDataDir(directory)();
    });

    it('without start times goes by the pid alone', () => {
      const directory = fresh();
      lockDataDir(directory)();
      const file = join(directory, 'lock');
      writeFileSync(file, JSON.stringify({ pid: process.ppid, started: null }));
      refused(directory, process.ppid);
      writeFileSync(file, JSON.stringify({ pid: 2 ** 22 + 1, started: null }));
      lockDataDir(directory)();
    });

    it('takes over a lock file that says nothing', () => {
      const directory = fresh();
      lockDataDir(directory)();
      for (const content of ['', '{', '{"pid":"x"}', 'null']) {
        writeFileSync(join(directory, 'lock'), content);
        lockDataDir(directory)();
      }
    });

    it('has one owner when ten processes find the same dead one’s lock', async () => {
      const directory = fresh();
      lockDataDir(directory)();
      writeFileSync(join(directory, 'lock'), JSON.stringify({ pid: 2 ** 22 + 1, started: null }));
      const processes = Array.from({ length: 10 }, () => other(directory));
      const answers = await Promise.all(processes.map(({ said }) => said));
      const owners = answers.filter((answer) => answer === 'locked');
      const owner = JSON.parse(readFileSync(join(directory, 'lock'), 'utf8')) as { pid: number };
      for (const { child } of processes) child.kill('SIGKILL');
      await Promise.all(processes.map(({ exited }) => exited));
      assert.equal(owners.length, 1, answers.join('\n'));
      assert.equal(processes[answers.indexOf('locked')].child.pid, owner.pid);
      assert.deepEqual(readdirSync(directory), ['lock']);
    });
  });
}
