import { readFileSync } from 'node:fs';

/** Clock ticks per second of /proc/<pid>/stat; 100 on every Linux in use. */
const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;

/** User and system time: of the process, all threads, then of its children that have ended. */
function cpuTicks(pid: number): number[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).map(Number);
}

/** CPU seconds (user and system, all threads) that a process has used. Linux only. */
export function cpuSeconds(pid: number): number {
  const [user, system] = cpuTicks(pid);
  return (user + system) / TICKS_PER_SECOND;
}

/** `cpuSeconds` and those of the process's children that have ended. */
export function cpuSecondsWithChildren(pid: number): number {
  return cpuTicks(pid).reduce((sum, ticks) => sum + ticks) / TICKS_PER_SECOND;
}

/** Resident memory, bytes. Linux only. */
export function residentBytes(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * PAGE_BYTES;
}

export const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/**
 * Waits until a process is at rest: under 4 % of a core for two seconds on end. For the engine that is when background
 * merges have settled.
 *
 * @returns the CPU seconds used when the rest began
 */
export async function untilIdle(pid: number, maxSeconds = 120): Promise<number> {
  const deadline = Date.now() + maxSeconds * 1000;
  let atRest = 0;
  let before = cpuSeconds(pid);
  let restBegan = before;
  while (atRest < 4 && Date.now() < deadline) {
    await sleep(500);
    const now = cpuSeconds(pid);
    atRest = now - before < 0.02 ? atRest + 1 : 0;
    if (atRest === 0) restBegan = now;
    before = now;
  }
  return restBegan;
}

/** The value below which `share` of the numbers lie. */
export function quantile(values: number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}
