import { readFileSync } from 'node:fs';
import type { BlockList, Socket } from 'node:net';
import { isLoopback } from '../edge/credentials.js';
import { isListed, limitedNetwork, networkList } from '../edge/remote-address.js';

/** Of the files this process may open, how many may be connections; the engines and the journal need the others. */
const SHARE_OF_OPEN_FILES = 0.5;

export interface ConnectionCaps {
  total: number;
  perAddress: number;
  /** Proxies, which speak for many clients; as this machine, they are only counted in the total. */
  trusted: readonly string[];
}

/** Counts the open connections of all HTTP ports together, and turns away those that are too many. */
export class ConnectionLimit {
  private readonly total: number;
  private readonly trusted: BlockList | undefined;
  private readonly openOf = new Map<string, number>();
  private open = 0;

  constructor(
    private readonly caps: ConnectionCaps,
    maxOpenFiles: number = openFilesLimit(),
  ) {
    this.total = Math.max(1, Math.min(caps.total, Math.floor(maxOpenFiles * SHARE_OF_OPEN_FILES)));
    this.trusted = networkList(caps.trusted);
  }

  /**
   * Whether a new connection may stay; one that may is counted until it closes. One that may not is closed without an
   * answer: nothing was read of it, so an answer would mostly be lost to the reset that follows it.
   */
  admit(socket: Socket): boolean {
    const counted = this.countedAs(socket.remoteAddress);
    const open = counted === undefined ? 0 : (this.openOf.get(counted) ?? 0);
    if (this.open >= this.total || open >= this.caps.perAddress) {
      socket.destroy();
      return false;
    }
    this.open++;
    if (counted !== undefined) this.openOf.set(counted, open + 1);
    socket.once('close', () => this.closed(counted));
    return true;
  }

  private closed(counted: string | undefined): void {
    this.open--;
    if (counted === undefined) return;
    const open = this.openOf.get(counted)! - 1;
    if (open === 0) this.openOf.delete(counted);
    else this.openOf.set(counted, open);
  }

  private countedAs(address: string | undefined): string | undefined {
    if (address === undefined || isLoopback(address) || isListed(this.trusted, address)) return undefined;
    return limitedNetwork(address);
  }
}

/** How many files this process may have open; no limit where the system does not tell (it is in /proc on Linux). */
function openFilesLimit(): number {
  try {
    const line = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
    return line ? Number(line[1]) : Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
