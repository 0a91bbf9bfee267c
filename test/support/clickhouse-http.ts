import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createWriteStream, mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import type { Session } from 'chdb';
import { clusterArguments, onOneServer } from './cluster-engine.js';

/**
 * A ClickHouse server for tests: the real engine in a process of its own, behind as much of ClickHouse's HTTP
 * interface as the official client uses. It can be killed and started again, slowed, and made to refuse.
 *
 * Not the real thing: no users but one, no sessions, no replication, answers are not streamed, statuses of errors
 * are 400, 403, 404 or 500 without the server's full table.
 */
export class ClickHouseHttp {
  private child: ChildProcess | undefined;

  private constructor(
    private readonly dataDir: string,
    readonly port: number,
    private readonly isCluster: boolean,
  ) {}

  /**
   * Starts one with its data in `dataDir`, on a free port that it keeps over restarts.
   *
   * @param isCluster as much of the cluster `CLUSTER` as one engine can be (cluster-engine.ts)
   */
  static async start(dataDir: string, isCluster = false): Promise<ClickHouseHttp> {
    const server = new ClickHouseHttp(dataDir, await freePort(), isCluster);
    await server.start();
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Undefined before it was started. */
  get pid(): number | undefined {
    return this.child?.pid;
  }

  async start(): Promise<void> {
    const child = fork(
      fileURLToPath(import.meta.url),
      [this.dataDir, String(this.port), String(this.isCluster)],
      {
        env: { ...process.env, CLICKHOUSE_HTTP_CHILD: '1', UV_THREADPOOL_SIZE: '16' },
        serialization: 'json',
      },
    );
    this.child = child;
    await new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('exit', (code) => reject(new Error(`The ClickHouse process ended at once with ${code}`)));
    });
  }

  /** Every answer from now on comes `delayMs` late, or is `status` with a proxy's page; nothing given: normal. */
  async behave(faults: { delayMs?: number; status?: number } = {}): Promise<void> {
    const { child } = this;
    await new Promise((resolve) => {
      child?.once('message', resolve);
      child?.send(faults);
    });
  }

  /** Ends the process: at once (`SIGKILL`), or having closed its data. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const { child } = this;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await exited;
  }
}

async function freePort(): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

// ------------------------------------------------------------------------------------------------ in the child

/** Of the last ones the engine has no use: it is the only server. */
const NOT_SETTINGS = new Set([
  'query',
  'database',
  'query_id',
  'session_id',
  'default_format',
  'role',
  'prefer_localhost_replica',
]);
const HTTP_SETTINGS =
  /^(wait_end_of_query|cancel_http_readonly|send_progress|http_|enable_http|compress|decompress|buffer_size)/;
const PASSWORD = 'right';
const quote = (text: string) => `'${text.replace(/\\/g, '\\\\').replace(/'/g, "\\'")}'`;

interface Engine {
  open: () => Session;
  directory: string;
  control: Session;
  isCluster: boolean;
}

async function text(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

/** Statements to run before the query: its database, parameters and settings, `readonly` last. */
function preamble(url: URL, id: string): string[] {
  const statements: string[] = [];
  const settings: string[] = [];
  for (const [name, value] of url.searchParams) {
    if (name.startsWith('param_')) statements.push(`SET ${name} = ${quote(value)}`);
    else if (!NOT_SETTINGS.has(name) && !HTTP_SETTINGS.test(name) && name !== 'readonly') {
      settings.push(`SET ${name} = ${quote(value)}`);
    }
  }
  const database = url.searchParams.get('database');
  if (database) statements.unshift(`USE \`${database}\``);
  const readonly = url.searchParams.get('readonly');
  return [
    ...settings,
    `SET log_comment = '${id}'`,
    ...statements,
    ...(readonly ? [`SET readonly = ${readonly}`] : []),
  ];
}

/** An INSERT whose rows are the body reads them from a file instead, for the engine takes them from no stream. */
function readFromFile(query: string, file: string): string {
  const [, format] = /\bFORMAT\s+(\w+)\s*$/i.exec(query) ?? [];
  if (/\binput\s*\(/i.test(query)) {
    return query
      .replace(/\binput\s*\(/i, `file(${quote(file)}, ${format}, `)
      .replace(/\bFORMAT\s+\w+\s*$/i, '');
  }
  return query.replace(/\bFORMAT\s+\w+\s*$/i, `FROM INFILE ${quote(file)} FORMAT ${format}`);
}

const STATUS: Record<string, number> = {
  '60': 404,
  '62': 400,
  '81': 404,
  '516': 403,
  '497': 403,
  '164': 500,
};

function fail(response: ServerResponse, message: string): void {
  const code = /Code: (\d+)/.exec(message)?.[1] ?? '1001';
  response.writeHead(STATUS[code] ?? 500, {
    'X-ClickHouse-Exception-Code': code,
    'content-type': 'text/plain',
  });
  response.end(`${message} (version 26.7.2.1 (official build))\n`);
}

function authenticate(request: IncomingMessage): boolean {
  const [, basic] = /^Basic (.+)$/.exec(request.headers.authorization ?? '') ?? [];
  if (!basic) return true;
  const [user, password] = Buffer.from(basic, 'base64').toString().split(':');
  return user === 'default' && (password === '' || password === PASSWORD);
}

async function runQuery(
  engine: Engine,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  const id = randomUUID();
  const given = url.searchParams.get('query');
  const file = join(engine.directory, 'bodies', id);
  const session = engine.open();
  try {
    let query = given ?? (await text(request));
    if (given !== null) {
      await pipeline(request, createWriteStream(file));
      query = readFromFile(given, file);
    }
    let ended = false;
    response.once('close', () => {
      const isRead = url.searchParams.get('cancel_http_readonly_queries_on_client_close') === '1';
      if (!ended && isRead)
        void engine.control.queryAsync(`KILL QUERY WHERE Settings['log_comment'] = '${id}'`);
    });
    if (engine.isCluster) query = onOneServer(query);
    for (const statement of preamble(url, id)) await session.queryAsync(statement);
    const result = await session.queryAsync(query, {
      format: url.searchParams.get('default_format') ?? 'TabSeparated',
    });
    ended = true;
    const summary = {
      read_rows: String(result.rowsRead),
      read_bytes: String(result.bytesRead),
      elapsed_ns: '0',
    };
    response.writeHead(200, { 'X-ClickHouse-Query-Id': id, 'X-ClickHouse-Summary': JSON.stringify(summary) });
    response.end(result.bytes());
  } finally {
    session.close();
    await rm(file, { force: true });
  }
}

async function serve(dataDir: string, port: number, isCluster: boolean): Promise<void> {
  const { Session, drainPending } = await import('chdb');
  mkdirSync(join(dataDir, 'bodies'), { recursive: true });
  const options = isCluster ? { connectionArgs: clusterArguments(dataDir) } : {};
  const open = () => new Session(join(dataDir, 'store'), options);
  const engine: Engine = { open, directory: dataDir, control: open(), isCluster };
  let faults: { delayMs?: number; status?: number } = {};
  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const { delayMs, status } = faults;
    if (delayMs) await new Promise((resolve) => setTimeout(resolve, delayMs));
    if (status) return response.writeHead(status).end('<html><body>Bad Gateway</body></html>');
    if (url.pathname === '/ping') return response.end('Ok.\n');
    if (!authenticate(request)) {
      return fail(
        response,
        'Code: 516. DB::Exception: default: Authentication failed. (AUTHENTICATION_FAILED)',
      );
    }
    return runQuery(engine, request, response, url);
  };
  const server = createServer((request, response) => {
    handle(request, response).catch((error: Error) => fail(response, error.message));
  });
  process.on('message', (next: typeof faults) => {
    faults = next;
    process.send?.('done');
  });
  process.on('SIGTERM', async () => {
    server.closeAllConnections();
    server.close();
    engine.control.close();
    await drainPending();
    process.exit(0);
  });
  process.on('disconnect', () => process.exit(0));
  server.listen(port, '127.0.0.1', () => process.send?.('ready'));
}

if (process.env.CLICKHOUSE_HTTP_CHILD === '1') {
  await serve(process.argv[2], Number(process.argv[3]), process.argv[4] === 'true');
}
