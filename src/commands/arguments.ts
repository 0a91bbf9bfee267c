import { type ParseArgsConfig, parseArgs } from 'node:util';
import type { StartupError } from '../errors.js';

/**
 * What a command was given.
 *
 * @param usage says what was wrong, and how the command is used
 * @throws what `usage` makes of the problem, when there is an option that is not known, or lacks its value
 */
export function parseArguments<const T extends ParseArgsConfig>(
  config: T,
  usage: (problem: string) => StartupError,
) {
  try {
    return parseArgs(config);
  } catch (error) {
    throw usage((error as Error).message);
  }
}
