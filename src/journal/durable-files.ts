import { dirname, join } from 'node:path';
import type { FileSystem, OpenFile } from './file-system.js';

/** Writes all buffers from `position` on, over as many calls as the disk wants; returns the bytes written. */
export async function writeFully(
  file: OpenFile,
  buffers: readonly Uint8Array[],
  position: number,
): Promise<number> {
  let rest = buffers.filter((buffer) => buffer.length > 0);
  let written = 0;
  while (rest.length > 0) {
    const count = await file.writev(rest, position + written);
    if (count === 0) throw Object.assign(new Error('The disk took no bytes'), { code: 'ENOSPC' });
    written += count;
    rest = dropBytes(rest, count);
  }
  return written;
}

function dropBytes(buffers: Uint8Array[], count: number): Uint8Array[] {
  let first = 0;
  let left = count;
  while (first < buffers.length && left >= buffers[first].length) left -= buffers[first++].length;
  const rest = buffers.slice(first);
  if (left > 0) rest[0] = rest[0].subarray(left);
  return rest;
}

/** Fills `target` from `position` on; returns fewer bytes only at the end of the file. */
export async function readFully(file: OpenFile, target: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < target.length) {
    const count = await file.read(target.subarray(done), position + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}

/** The whole file, alone in its buffer. */
export async function readWhole(fs: FileSystem, path: string): Promise<Buffer<ArrayBuffer>> {
  const file = await fs.open(path);
  try {
    const bytes = Buffer.allocUnsafeSlow(await file.size());
    return bytes.subarray(0, await readFully(file, bytes, 0));
  } finally {
    await file.close();
  }
}

/** Under a temporary name, synced, renamed, directory synced: after a crash the file is whole or not there. */
export async function writeDurably(
  fs: FileSystem,
  path: string,
  buffers: readonly Uint8Array[],
): Promise<void> {
  const temporary = `${path}.tmp`;
  await removeIfThere(fs, temporary);
  const file = await fs.create(temporary);
  try {
    await writeFully(file, buffers, 0);
    await file.sync();
  } catch (error) {
    await file.close();
    await removeIfThere(fs, temporary).catch(() => undefined);
    throw error;
  }
  await file.close();
  await fs.rename(temporary, path);
  await fs.syncDirectory(dirname(path));
}

/** Creates the directory so that it survives a power cut, and returns its path. */
export async function ensureDirectory(fs: FileSystem, parent: string, name: string): Promise<string> {
  const path = join(parent, name);
  await fs.makeDirectory(path);
  await fs.syncDirectory(parent);
  return path;
}

export async function removeIfThere(fs: FileSystem, path: string): Promise<void> {
  try {
    await fs.unlink(path);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
}

/** The operating system's name of an error, such as `ENOSPC`; '' when it has none. */
export function errorCode(error: unknown): string {
  return (error as NodeJS.ErrnoException | undefined)?.code ?? '';
}

/** No room: the next write may succeed as soon as something is deleted. */
export function isNoSpace(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'ENOSPC' || code === 'EDQUOT';
}
