import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config.js';

const FILE = 'server.json';

/** Writes down where the server of a data folder listens, for commands beside it. */
export function noteAddress(dataDir: string, api: string): void {
  writeFileSync(join(dataDir, FILE), JSON.stringify({ api }));
}

export function forgetAddress(dataDir: string): void {
  rmSync(join(dataDir, FILE), { force: true });
}

/** Where the server of these settings listens, as far as they tell. */
export function addressOf({ DATA_DIR, HOST, PORT }: Config): string {
  try {
    return (JSON.parse(readFileSync(join(DATA_DIR, FILE), 'utf8')) as { api: string }).api;
  } catch {
    return `http://${HOST}:${PORT}`;
  }
}
