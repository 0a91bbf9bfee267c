import { setTimeout as sleep } from 'node:timers/promises';
import { StartupError } from '../errors.js';
import { jsonToProtobuf } from '../otlp/json.js';
import type { Signal } from '../signal.js';
import type { OtlpObject } from './otlp-values.js';

export type Encoding = 'protobuf' | 'json';
type Item = Record<string, unknown>;

const POLL_MS = 50;
const REQUEST_TIMEOUT_MS = 10_000;
const MAX_RETRY_AFTER_SECONDS = 5;

/** A running server from outside: OTLP in, query API out. */
export class OtlpClient {
  /**
   * @param endpoint base URL of OTLP over HTTP
   * @param api base URL of the query API
   * @param key sent as `Authorization: Bearer`, where the server asks for one
   * @param timeoutMs how long to wait for what was sent to be visible
   */
  constructor(
    private readonly endpoint: string,
    private readonly api: string,
    private readonly key: string | undefined,
    private readonly timeoutMs: number,
  ) {}

  /** Sends a request and makes sure that all of it was taken. */
  async send(signal: Signal, request: OtlpObject, encoding: Encoding): Promise<void> {
    const text = Buffer.from(textOf(request));
    const body = encoding === 'json' ? text : jsonToProtobuf(signal, text);
    const response = await this.fetch(`${this.endpoint}/v1/${signal}`, {
      method: 'POST',
      headers: { 'content-type': encoding === 'json' ? 'application/json' : 'application/x-protobuf' },
      body: new Uint8Array(body),
    });
    const answer = Buffer.from(await response.arrayBuffer());
    const clean = encoding === 'json' ? answer.toString() === '{}' : answer.length === 0;
    if (response.ok && clean) return;
    const said = answer
      .toString()
      .replace(/[^\x20-\x7e]+/g, ' ')
      .trim();
    throw new StartupError(`${signal} as ${encoding} were not taken whole: HTTP ${response.status} ${said}`);
  }

  /**
   * Asks until there are as many items as expected; after the timeout, what there is.
   *
   * @param path of the API; the list is the answer's `field`
   */
  async readBack(path: string, field: string, expected: number): Promise<Item[]> {
    const deadline = Date.now() + this.timeoutMs;
    for (;;) {
      const response = await this.fetch(`${this.api}/api/v1/${path}`, {});
      const text = await response.text();
      if (!response.ok && response.status !== 404) {
        throw new StartupError(
          `${this.api}/api/v1/${path} answers ${response.status}: ${text.slice(0, 500)}`,
        );
      }
      const items = response.ok ? (JSON.parse(text) as Record<string, Item[]>)[field] : [];
      if (items.length >= expected || Date.now() > deadline) return items;
      await sleep(POLL_MS);
    }
  }

  /** Waits, as every client should, where a rate limit says for how long; not for a quota that is used up. */
  private async fetch(url: string, init: RequestInit): Promise<Response> {
    for (;;) {
      const response = await this.fetchOnce(url, init);
      const retryAfterSeconds = Number(response.headers.get('retry-after'));
      if (response.status !== 429 || !(retryAfterSeconds <= MAX_RETRY_AFTER_SECONDS)) return response;
      await response.arrayBuffer();
      await sleep(retryAfterSeconds * 1000);
    }
  }

  private async fetchOnce(url: string, init: RequestInit): Promise<Response> {
    const authorization = this.key ? { authorization: `Bearer ${this.key}` } : undefined;
    try {
      return await fetch(url, {
        ...init,
        headers: { ...(init.headers as Record<string, string>), ...authorization },
        redirect: 'error',
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      });
    } catch (error) {
      const { message, cause } = error as Error & { cause?: { code?: string } };
      throw new StartupError(
        `Nobody answers at ${url} (${cause?.code ?? message}). Start the server first: telemetryflow start`,
      );
    }
  }
}

/** JSON with every second 64-bit integer written as a bare number, as some SDKs do. */
function textOf(request: OtlpObject): string {
  let count = 0;
  return JSON.stringify(request).replace(
    /"((?:int|as|start|end|time|observed)\w*)":"(-?\d{16,})"/gi,
    (quoted, name, value) => (count++ % 2 === 0 ? quoted : `"${name}":${value}`),
  );
}
