import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { StartupError } from './errors.js';

/** Who holds a lock. `started` tells a process from a later one that was given the same pid. */
interface Holder {
  pid: number;
  started: string | null;
}

const MAX_ATTEMPTS = 10;

/**
 * When a process started, as something to compare: its start in clock ticks since boot, and which boot that was.
 * `null` where there is no /proc, as on macOS.
 */
function startOf(pid: number): string | null {
  try {
    // The second field is the program's name in parentheses, and may itself hold spaces and parentheses.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const ticks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}/${ticks}`;
  } catch {
    return null;
  }
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: there is one, only not ours.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function isAlive(holder: Holder): boolean {
  if (!exists(holder.pid)) return false;
  const started = startOf(holder.pid);
  if (holder.started !== null && started !== null) return started === holder.started;
  // Without start times a pid says little: one's own, after a restart in a container, is a stale lock's.
  return holder.pid !== process.pid || held.has(holder.pid);
}

/** Pids that took a lock in this process: its own, once it has. */
const held = new Set<number>();

function readHolder(file: string): Holder | undefined {
  try {
    const holder = JSON.parse(readFileSync(file, 'utf8')) as Holder;
    return Number.isInteger(holder.pid) ? holder : undefined;
  } catch {
    return undefined;
  }
}

function isThere(file: string): boolean {
  try {
    readFileSync(file);
    return true;
  } catch {
    return false;
  }
}

/** Puts the lock file there whole or not at all; false when there already is one. */
function create(file: string): boolean {
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, JSON.stringify({ pid: process.pid, started: startOf(process.pid) } satisfies Holder));
  try {
    linkSync(draft, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  } finally {
    rmSync(draft, { force: true });
  }
}

/**
 * Takes a dead process's lock away. Two starting processes may both have found it dead: what was moved aside is
 * looked at again, and put back when it is the other's new lock.
 */
function removeStale(file: string): void {
  const aside = `${file}.stale.${process.pid}`;
  try {
    renameSync(file, aside);
  } catch {
    return;
  }
  const holder = readHolder(aside);
  if (holder && isAlive(holder)) {
    try {
      linkSync(aside, file);
    } catch {
      // A third process was quicker: that one will be found alive on the next attempt.
    }
  }
  rmSync(aside, { force: true });
}

/**
 * Makes this process the only one on a data directory, which is created if missing. A lock left by a process that
 * is gone (kill -9, power loss) is taken over at once.
 *
 * @returns gives the directory up; idempotent
 * @throws StartupError naming the process that has it
 */
export function lockDataDir(dataDir: string): () => void {
  mkdirSync(dataDir, { recursive: true });
  const file = join(dataDir, 'lock');
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    if (create(file)) {
      held.add(process.pid);
      let released = false;
      return () => {
        if (!released) rmSync(file, { force: true });
        released = true;
      };
    }
    const holder = readHolder(file);
    if (holder && isAlive(holder)) {
      throw new StartupError(
        `DATA_DIR ${dataDir} is in use by process ${holder.pid}. Stop that one, or set another DATA_DIR.`,
      );
    }
    if (isThere(file)) removeStale(file);
  }
  throw new StartupError(`DATA_DIR ${dataDir}: the lock ${file} changes hands too fast; start again.`);
}
