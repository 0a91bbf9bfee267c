import { ClickHouseError } from '@clickhouse/client';

/**
 * What ClickHouse answers when it, not the data, is in trouble: it goes away by itself or by an operator's hand,
 * and the same batch then goes in. Names and numbers: src/Common/ErrorCodes.cpp of ClickHouse.
 *
 * A table, database or column that is missing is in this list too: the schema is ours, and a migration that is
 * still to come must not cost data.
 */
export const PASSING: Readonly<Record<number, string>> = {
  16: 'NO_SUCH_COLUMN_IN_TABLE',
  60: 'UNKNOWN_TABLE',
  74: 'CANNOT_READ_FROM_FILE_DESCRIPTOR',
  75: 'CANNOT_WRITE_TO_FILE_DESCRIPTOR',
  76: 'CANNOT_OPEN_FILE',
  77: 'CANNOT_CLOSE_FILE',
  81: 'UNKNOWN_DATABASE',
  95: 'CANNOT_READ_FROM_SOCKET',
  96: 'CANNOT_WRITE_TO_SOCKET',
  159: 'TIMEOUT_EXCEEDED',
  164: 'READONLY',
  173: 'CANNOT_ALLOCATE_MEMORY',
  192: 'UNKNOWN_USER',
  193: 'WRONG_PASSWORD',
  194: 'REQUIRED_PASSWORD',
  198: 'DNS_ERROR',
  201: 'QUOTA_EXCEEDED',
  202: 'TOO_MANY_SIMULTANEOUS_QUERIES',
  203: 'NO_FREE_CONNECTION',
  204: 'CANNOT_FSYNC',
  209: 'SOCKET_TIMEOUT',
  210: 'NETWORK_ERROR',
  218: 'TABLE_IS_DROPPED',
  225: 'NO_ZOOKEEPER',
  236: 'ABORTED',
  241: 'MEMORY_LIMIT_EXCEEDED',
  242: 'TABLE_IS_READ_ONLY',
  243: 'NOT_ENOUGH_SPACE',
  244: 'UNEXPECTED_ZOOKEEPER_ERROR',
  252: 'TOO_MANY_PARTS',
  279: 'ALL_CONNECTION_TRIES_FAILED',
  285: 'TOO_FEW_LIVE_REPLICAS',
  286: 'UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE',
  289: 'REPLICA_IS_NOT_IN_QUORUM',
  294: 'CANNOT_WRITE_TO_FILE',
  319: 'UNKNOWN_STATUS_OF_INSERT',
  373: 'SESSION_IS_LOCKED',
  394: 'QUERY_WAS_CANCELLED',
  415: 'ALL_REPLICAS_LOST',
  425: 'SYSTEM_ERROR',
  439: 'CANNOT_SCHEDULE_TASK',
  473: 'DEADLOCK_AVOIDED',
  497: 'ACCESS_DENIED',
  499: 'S3_ERROR',
  516: 'AUTHENTICATION_FAILED',
  574: 'DISTRIBUTED_TOO_MANY_PENDING_BYTES',
  722: 'ASYNC_LOAD_WAIT_FAILED',
  745: 'SERVER_OVERLOADED',
  999: 'KEEPER_EXCEPTION',
  1000: 'POCO_EXCEPTION',
  1001: 'STD_EXCEPTION',
};

/** The same code as that of too many parts waiting to be merged, but of one block that spans too many days. */
const TOO_MANY_PARTITIONS = /partitions for single INSERT block/;

/** Errors of a read that asked for more than its limits allow: 422, with a hint to ask for less. */
const TOO_EXPENSIVE = new Set([158, 159, 160, 162, 191, 241, 307, 396]);

/**
 * Whether the same insert may succeed later, so that it must be tried again as it is, for ever. `false` means that
 * the data or the statement is at fault: trying again cannot help, the batch is to be bisected.
 *
 * Everything that is no answer of ClickHouse (connection refused or cut, timeouts, a proxy's 502, a closed session)
 * counts as passing; our own mistakes (TypeError and the like) and a missing batch file do not.
 */
export function isRetryable(error: unknown): boolean {
  if (error instanceof ClickHouseError) {
    // A full disk comes under many codes, whichever file was being written.
    if (error.message.includes('No space left on device')) return true;
    return Number(error.code) in PASSING && !TOO_MANY_PARTITIONS.test(error.message);
  }
  if (!(error instanceof Error)) return false;
  const own = error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError;
  return !own && (error as NodeJS.ErrnoException).code !== 'ENOENT';
}

/** Whether a read was stopped by one of its own limits: time, memory, rows or bytes. */
export function isTooExpensive(error: unknown): boolean {
  return error instanceof ClickHouseError && TOO_EXPENSIVE.has(Number(error.code));
}

const MISSING = new Set(['60', '81']);

/** Whether a table or database that was named is not there. */
export function isMissing(error: unknown): boolean {
  return error instanceof ClickHouseError && MISSING.has(error.code);
}

/** Whether a statement was refused because the read may only read. */
export function isRefusedWrite(error: unknown): boolean {
  return error instanceof TypeError || (error instanceof ClickHouseError && error.code === '164');
}
