import * as fs from 'node:fs';

/** An open file. Positions and sizes in bytes; errors carry the operating system's `code`. */
export interface OpenFile {
  /** May write less than given, like the system call; returns the number of bytes written. */
  writev(buffers: readonly Uint8Array[], position: number): Promise<number>;
  read(target: Uint8Array, position: number): Promise<number>;
  /** fdatasync: what was written before is on the disk when this resolves. */
  sync(): Promise<void>;
  truncate(bytes: number): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

/** The few calls the queue makes; a test gives one that fails and crashes on command. */
export interface FileSystem {
  /** With its parents; no error when it exists. */
  makeDirectory(path: string): Promise<void>;
  list(path: string): Promise<string[]>;
  /** A new file for reading and writing; an error when it exists. */
  create(path: string): Promise<OpenFile>;
  /** An existing file for reading and writing. */
  open(path: string): Promise<OpenFile>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  /** Makes creations, renames and deletions in the directory durable. */
  syncDirectory(path: string): Promise<void>;
}

type Callback<T> = (error: Error | null, result: T) => void;

function call<T>(start: (callback: Callback<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, result) => (error ? reject(error) : resolve(result)));
  });
}

/** Plain descriptors and callbacks: file handles cost several times as much per call. */
class RealFile implements OpenFile {
  constructor(private readonly fd: number) {}

  writev(buffers: readonly Uint8Array[], position: number): Promise<number> {
    return call((done) => fs.writev(this.fd, buffers, position, done));
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return call((done) => fs.read(this.fd, target, 0, target.length, position, done));
  }

  sync(): Promise<void> {
    return call((done: Callback<void>) => fs.fdatasync(this.fd, (error) => done(error)));
  }

  truncate(bytes: number): Promise<void> {
    return call((done: Callback<void>) => fs.ftruncate(this.fd, bytes, (error) => done(error)));
  }

  async size(): Promise<number> {
    return (await call<fs.Stats>((done) => fs.fstat(this.fd, done))).size;
  }

  close(): Promise<void> {
    return call((done: Callback<void>) => fs.close(this.fd, (error) => done(error ?? null)));
  }
}

async function openReal(path: string, flags: string): Promise<OpenFile> {
  return new RealFile(await call<number>((done) => fs.open(path, flags, 0o600, done)));
}

/** The disk of this machine. */
export const realFileSystem: FileSystem = {
  makeDirectory: async (path) => {
    await fs.promises.mkdir(path, { recursive: true, mode: 0o700 });
  },
  list: (path) => fs.promises.readdir(path),
  create: (path) => openReal(path, 'wx+'),
  open: (path) => openReal(path, 'r+'),
  rename: (from, to) => fs.promises.rename(from, to),
  unlink: (path) => fs.promises.unlink(path),
  syncDirectory: async (path) => {
    const directory = await fs.promises.open(path, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  },
};
