import { dirname } from 'node:path';
import type { FileSystem, OpenFile } from '../../src/journal/file-system.js';

type Write = { position: number; data: Uint8Array } | { truncateTo: number };
type NameChange = { name: string; inode: Inode | undefined }[];

interface Inode {
  /** What a reader sees. */
  content: Buffer;
  /** What a power cut leaves for sure. */
  durable: Buffer;
  /** What came after the last sync, in order. */
  unsynced: Write[];
}

export type Operation =
  | 'create'
  | 'open'
  | 'writev'
  | 'read'
  | 'sync'
  | 'truncate'
  | 'rename'
  | 'unlink'
  | 'syncDirectory';

export interface Fault {
  /** Of the operating system, such as EIO. */
  code: string;
  /** writev: this many bytes are written before the error. */
  afterBytes?: number;
}

type Act = <T>(
  operation: Operation,
  path: string,
  bytes: number,
  effect: (fault: Fault | undefined) => T,
) => Promise<T>;

/**
 * A disk in memory that keeps apart what is written and what is synced, files and names alike, and that fails on
 * command. Every call takes a few turns of the event loop, so that a crash can come in the middle of it.
 */
export class SimulatedDisk {
  capacityBytes = Number.POSITIVE_INFINITY;
  /** Asked before every call; what it returns happens. */
  fault: (operation: Operation, path: string, bytes: number) => Fault | undefined = () => undefined;
  operations = 0;
  private names = new Map<string, Inode>();
  private durableNames = new Map<string, Inode>();
  /** By directory, in order. */
  private unsyncedNames = new Map<string, NameChange[]>();
  private generation = 0;

  /** @param random 0 <= n < 1; decides what of the unsynced survives and how many turns a call takes */
  constructor(private readonly random: () => number) {}

  get usedBytes(): number {
    let bytes = 0;
    for (const inode of new Set(this.names.values())) bytes += inode.content.length;
    return bytes;
  }

  paths(): string[] {
    return [...this.names.keys()].sort();
  }

  contentOf(path: string): Buffer {
    return this.need(path).content;
  }

  /** Changes bytes behind everybody's back, on the disk too. */
  overwrite(path: string, content: Buffer): void {
    const inode = this.need(path);
    inode.content = Buffer.from(content);
    inode.durable = Buffer.from(content);
    inode.unsynced = [];
  }

  /** The process dies; what it wrote stays. Calls of the old process never return. */
  kill(): void {
    this.generation++;
  }

  /** The machine dies: of what was not synced any prefix may be there, of names any part. */
  cutPower(): void {
    this.generation++;
    for (const changes of this.unsyncedNames.values()) {
      const isOrdered = this.pick(2) === 0;
      const kept = isOrdered
        ? changes.slice(0, this.pick(changes.length + 1))
        : changes.filter(() => this.pick(2) === 0);
      for (const change of kept) apply(this.durableNames, change);
    }
    this.unsyncedNames.clear();
    this.names = new Map(this.durableNames);
    for (const inode of this.names.values()) this.loseUnsynced(inode);
  }

  /** The disk as one process sees it; after a crash mount it anew. */
  mount(): FileSystem {
    const { generation } = this;
    /** Nothing may come between the check that the process lives and the effect, so both are one step. */
    const act: Act = async (operation, path, bytes, effect) => {
      for (let turns = this.pick(3); turns > 0; turns--)
        await new Promise((resolve) => setImmediate(resolve));
      if (generation !== this.generation) return new Promise(() => undefined);
      this.operations++;
      const fault = this.fault(operation, path, bytes);
      if (fault && operation !== 'writev' && operation !== 'sync') throw systemError(fault.code, path);
      return effect(fault);
    };
    return {
      makeDirectory: async () => undefined,
      list: async (path) => this.list(path),
      create: (path) =>
        act('create', path, 0, () => {
          if (this.names.has(path)) throw systemError('EEXIST', path);
          const inode = { content: Buffer.alloc(0), durable: Buffer.alloc(0), unsynced: [] };
          this.change(path, [{ name: path, inode }]);
          return this.file(path, inode, act);
        }),
      open: (path) => act('open', path, 0, () => this.file(path, this.need(path), act)),
      rename: (from, to) =>
        act('rename', from, 0, () => {
          const moved = { name: to, inode: this.need(from) };
          this.change(from, [{ name: from, inode: undefined }, moved]);
        }),
      unlink: (path) =>
        act('unlink', path, 0, () => {
          this.need(path);
          this.change(path, [{ name: path, inode: undefined }]);
        }),
      syncDirectory: (path) =>
        act('syncDirectory', path, 0, () => {
          for (const change of this.unsyncedNames.get(path) ?? []) apply(this.durableNames, change);
          this.unsyncedNames.delete(path);
        }),
    };
  }

  private file(path: string, inode: Inode, act: Act): OpenFile {
    return {
      writev: (buffers, position) => {
        const data = Buffer.concat(buffers.map((buffer) => Buffer.from(buffer)));
        return act('writev', path, data.length, (fault) => this.write(path, inode, data, position, fault));
      },
      read: (target, position) =>
        act('read', path, target.length, () =>
          inode.content.copy(target, 0, position, position + target.length),
        ),
      sync: () =>
        act('sync', path, 0, (fault) => {
          // As Linux does: the pages count as clean after a failure, and may or may not have reached the disk.
          if (!fault) inode.durable = Buffer.from(inode.content);
          inode.unsynced = [];
          if (fault) throw systemError(fault.code, path);
        }),
      truncate: (bytes) => act('truncate', path, 0, () => write(inode, { truncateTo: bytes })),
      size: async () => inode.content.length,
      close: async () => undefined,
    };
  }

  private write(
    path: string,
    inode: Inode,
    data: Buffer,
    position: number,
    fault: Fault | undefined,
  ): number {
    const room = this.capacityBytes - this.usedBytes + Math.max(0, inode.content.length - position);
    const count = Math.min(data.length, fault ? (fault.afterBytes ?? 0) : data.length, Math.max(0, room));
    if (count > 0) write(inode, { position, data: data.subarray(0, count) });
    if (fault) throw systemError(fault.code, path);
    if (count === 0 && data.length > 0) throw systemError('ENOSPC', path);
    return count;
  }

  private list(path: string): string[] {
    const prefix = `${path}/`;
    return [...this.names.keys()]
      .filter((name) => dirname(name) === path)
      .map((name) => name.slice(prefix.length));
  }

  private need(path: string): Inode {
    const inode = this.names.get(path);
    if (!inode) throw systemError('ENOENT', path);
    return inode;
  }

  private change(path: string, change: NameChange): void {
    apply(this.names, change);
    const directory = dirname(path);
    const changes = this.unsyncedNames.get(directory) ?? [];
    changes.push(change);
    this.unsyncedNames.set(directory, changes);
  }

  /** Any prefix of the writes, the last of them torn anywhere; sometimes with a page of zeros in its middle. */
  private loseUnsynced(inode: Inode): void {
    const kept = inode.unsynced.slice(0, this.pick(inode.unsynced.length + 1));
    const last = kept.at(-1);
    if (last && 'data' in last) {
      const data = Buffer.from(last.data.subarray(0, this.pick(last.data.length + 1)));
      if (this.pick(4) === 0) data.fill(0, this.pick(data.length + 1), this.pick(data.length + 1));
      kept[kept.length - 1] = { position: last.position, data };
    }
    const after: Inode = { ...inode, content: inode.durable, unsynced: [] };
    for (const change of kept) write(after, change);
    inode.content = after.content;
    inode.durable = after.content;
    inode.unsynced = [];
  }

  private pick(below: number): number {
    return Math.floor(this.random() * below);
  }
}

function apply(names: Map<string, Inode>, change: NameChange): void {
  for (const { name, inode } of change) {
    if (inode) names.set(name, inode);
    else names.delete(name);
  }
}

function write(inode: Inode, change: Write): void {
  const end = 'data' in change ? change.position + change.data.length : change.truncateTo;
  const bytes = 'data' in change ? Math.max(inode.content.length, end) : end;
  const content = Buffer.alloc(bytes);
  inode.content.copy(content, 0, 0, bytes);
  if ('data' in change) content.set(change.data, change.position);
  inode.content = content;
  inode.unsynced.push(change);
}

function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}
