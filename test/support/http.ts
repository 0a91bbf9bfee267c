import { Agent, type IncomingHttpHeaders, request } from 'node:http';

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

export interface Call {
  method?: string;
  headers?: Record<string, string | number>;
  body?: Uint8Array | string;
  /** Leaves Content-Length out and sends the body in pieces of this size. */
  chunkBytes?: number;
  agent?: Agent;
  /** After so long the answer is what has come of it. */
  maxMs?: number;
}

/** Connections of a test file: kept alive, and no reason for the process to stay. */
const shared = new Agent({ keepAlive: true, maxSockets: 16 });

/** One request, without any help: no redirects, no decoding, headers exactly as given. */
export function call(
  url: string,
  { method = 'POST', headers = {}, body = '', chunkBytes, agent = shared, maxMs }: Call = {},
): Promise<Answer> {
  const bytes =
    typeof body === 'string' ? Buffer.from(body) : Buffer.from(body.buffer, body.byteOffset, body.length);
  const length =
    chunkBytes === undefined ? { 'content-length': bytes.length } : { 'transfer-encoding': 'chunked' };
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { method, agent, headers: { ...length, ...headers } }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      const settle = () =>
        resolve({ status: incoming.statusCode!, headers: incoming.headers, body: Buffer.concat(chunks) });
      incoming.on('end', settle);
      if (maxMs !== undefined) {
        const timer = setTimeout(() => {
          settle();
          incoming.destroy();
        }, maxMs);
        incoming.on('close', () => clearTimeout(timer));
      }
      incoming.on('error', reject);
    });
    outgoing.on('error', reject);
    if (chunkBytes === undefined) return outgoing.end(bytes);
    for (let at = 0; at < bytes.length; at += chunkBytes) outgoing.write(bytes.subarray(at, at + chunkBytes));
    outgoing.end();
  });
}

/** GET of a JSON document. @param key sent as `Authorization: Bearer` */
export async function getJson(url: string, key?: string): Promise<{ status: number; body: unknown }> {
  const headers: Record<string, string> = key === undefined ? {} : { authorization: `Bearer ${key}` };
  const { status, body } = await call(url, { method: 'GET', headers });
  return { status, body: JSON.parse(body.toString()) };
}
