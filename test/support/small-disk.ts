import { execFileSync } from 'node:child_process';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const CHUNK_BYTES = 64 * 1024;

/** A file system of a few megabytes, mounted on a folder. */
export class SmallDisk {
  private readonly ballast: string;

  private constructor(readonly directory: string) {
    this.ballast = join(directory, 'ballast');
  }

  /** Mounts it; undefined where that is not allowed (it needs root, on Linux). Unmounted when the process ends. */
  static mount(directory: string, megabytes: number): SmallDisk | undefined {
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', directory], {
        stdio: 'ignore',
      });
    } catch {
      return undefined;
    }
    const disk = new SmallDisk(directory);
    // Before the folder is deleted, which happens at the same moment.
    process.prependOnceListener('exit', () => disk.unmount());
    return disk;
  }

  /** Takes all the room there is. */
  fill(): void {
    const file = openSync(this.ballast, 'a');
    const chunk = Buffer.alloc(CHUNK_BYTES, 1);
    try {
      for (let bytes = chunk.length; bytes >= 1024; ) {
        try {
          writeSync(file, chunk, 0, bytes);
        } catch {
          bytes /= 2;
        }
      }
    } finally {
      closeSync(file);
    }
  }

  /** Gives it back. */
  free(): void {
    rmSync(this.ballast, { force: true });
  }

  private unmount(): void {
    // Lazily: a server that was just killed may still have files open.
    execFileSync('umount', ['-l', this.directory], { stdio: 'ignore' });
  }
}
