import type { Config } from '../config.js';
import { StartupError } from '../errors.js';
import { DATA_TYPES } from '../retention.js';
import type { CleanupAnswer } from '../rollups/cleanup.controller.js';
import { parseArguments } from './arguments.js';
import { withServer } from './running-server.js';
import { table } from './table.js';

export const CLEANUP_USAGE = `telemetryflow cleanup [--dry-run] [--type all|${DATA_TYPES.join('|')}] [--url http://host:3000] [--key <key>]

Deletes what has outlived its retention, as the server does each night at 02:00 UTC; --dry-run counts what would go and deletes nothing. The
server is the one of DATA_DIR, or --url; without --key the command makes itself a key through DATABASE_URL or DATA_DIR.
`;

const usage = (problem: string) => new StartupError(`${problem}\n\n${CLEANUP_USAGE}`);

/**
 * `telemetryflow cleanup ...`; prints what went, or would.
 *
 * @throws StartupError when it is not used as `CLEANUP_USAGE` says, or no server answers
 */
export async function cleanupCommand(config: Config, args: string[]): Promise<void> {
  const { url, key, type: data_type = 'all', 'dry-run': dry_run = false } = parse(args);
  if (!['all', ...DATA_TYPES].includes(data_type))
    throw usage(`--type ${data_type}: expected all or one of ${DATA_TYPES.join(', ')}`);
  const answer = await withServer(config, { url, key }, ['admin'], (call) =>
    call<CleanupAnswer>('POST', '/cleanup', { dry_run, data_type }),
  );
  for (const line of cleanupLines(answer)) console.log(line);
}

function parse(args: string[]) {
  const text = { type: 'string' } as const;
  const options = { 'dry-run': { type: 'boolean' }, type: text, url: text, key: text } as const;
  return parseArguments({ args, options, allowPositionals: false }, usage).values;
}

/** A line for each tenant and type, and their sum. */
export function cleanupLines({ dry_run, deleted, rows, partitions, bytes }: CleanupAnswer): string[] {
  const lines = deleted.map((one) => [one.data_type, one.tenant_id, String(one.rows)]);
  const sum = `${rows} rows ${dry_run ? 'would be' : 'are'} deleted; ${partitions} partitions (${bytes} bytes) whole`;
  return [...(lines.length > 0 ? table([['TYPE', 'TENANT', 'ROWS'], ...lines]) : []), sum];
}
