import { connect, isIP, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { AddressRules, plainHost } from './address-rules.js';
import { type Resolve, systemResolve } from './resolve.js';
import { RefusedError, SendError } from './send-error.js';

/** All of one message: looking its receiver up, connecting, sending, reading the answer. */
export const MAX_SEND_MS = 10_000;

/** Of several addresses, each but the last is waited for this part of the time. */
const ADDRESS_SHARE = 5;

interface Options {
  /** As NOTIFY_ALLOW_NETWORKS has them. */
  allowNetworks: readonly string[];
  /** In place of the system's, for tests. */
  resolve?: Resolve;
  /** In place of MAX_SEND_MS, for tests. */
  maxSendMs?: number;
  /** Beside the well-known certificate authorities. */
  ca?: string;
}

/** Where to connect to. */
export interface Destination {
  /** A name, or an address in any of its forms. */
  host: string;
  port: number;
  /** Whether what is sent can be read on the way: only inside the allowed networks. */
  isPlain: boolean;
}

/**
 * The way out to receivers that tenants name. A name is resolved once, each of its addresses is checked, and the connection
 * goes to the very address that was: what the name says a moment later changes nothing.
 */
export class Outside {
  private readonly rules: AddressRules;
  private readonly resolve: Resolve;
  private readonly maxSendMs: number;
  private readonly ca: string | undefined;

  constructor({ allowNetworks, resolve = systemResolve, maxSendMs = MAX_SEND_MS, ca }: Options) {
    this.rules = new AddressRules(allowNetworks);
    this.resolve = resolve;
    this.maxSendMs = maxSendMs;
    this.ca = ca;
  }

  /** Fires when a message has taken too long, or `stop` fires. */
  limit(stop: AbortSignal): AbortSignal {
    return AbortSignal.any([stop, AbortSignal.timeout(this.maxSendMs)]);
  }

  /** Whether a receiver is refused without asking for its addresses, because it is written as one. */
  isRefused({ host, port, isPlain }: Destination): boolean {
    const plain = plainHost(host);
    if (plain === undefined) return true;
    return isIP(plain) !== 0 && !this.isAllowed(plain, port, isPlain);
  }

  /**
   * A TCP connection to it.
   *
   * @throws RefusedError when it has an address that may not be reached, or none; SendError when it cannot be reached or the
   *   signal fires
   */
  async connect(destination: Destination, signal: AbortSignal): Promise<Socket> {
    const addresses = await this.checkedAddresses(destination, signal);
    let failure: unknown;
    for (const [index, address] of addresses.entries()) {
      const isLast = index === addresses.length - 1;
      // Where there is another address, one that nobody answers at does not take all the time.
      const limit = isLast
        ? signal
        : AbortSignal.any([signal, AbortSignal.timeout(this.maxSendMs / ADDRESS_SHARE)]);
      try {
        return await open(address, destination.port, limit);
      } catch (error) {
        failure = error;
        if (signal.aborted) break;
      }
    }
    throw sendErrorOf(failure, signal);
  }

  /** What a TLS handshake over such a connection takes to trust its other end. */
  tls(host: string): ConnectionOptions {
    const plain = plainHost(host) ?? host;
    return {
      ...(this.ca === undefined ? {} : { ca: this.ca }),
      host: plain,
      ...(isIP(plain) === 0 ? { servername: plain } : {}),
      minVersion: 'TLSv1.2',
    };
  }

  /** The same connection, encrypted. @throws SendError when the other end cannot prove that it is the host */
  secure(socket: Socket, host: string, signal: AbortSignal): Promise<Socket> {
    const secured = connectTls({ ...this.tls(host), socket, ALPNProtocols: ['http/1.1'] });
    return settled(secured, 'secureConnect', signal).catch((error: unknown) => {
      socket.destroy();
      throw sendErrorOf(error, signal);
    });
  }

  private async checkedAddresses(
    { host, port, isPlain }: Destination,
    signal: AbortSignal,
  ): Promise<string[]> {
    const plain = plainHost(host);
    if (plain === undefined) throw new RefusedError('The receiver’s host is not one.');
    const addresses = isIP(plain) === 0 ? await this.lookUp(plain, signal) : [plain];
    if (addresses.length === 0) throw new SendError('The receiver’s name has no address.');
    // One bad address among good ones is no accident that should be sorted out, but an attempt.
    if (addresses.every((address) => this.isAllowed(address, port, isPlain))) return addresses;
    throw new RefusedError(
      'The receiver’s address or port may not be reached from here, or not without encryption (NOTIFY_ALLOW_NETWORKS opens private networks).',
    );
  }

  private isAllowed(address: string, port: number, isPlain: boolean): boolean {
    return isPlain ? this.rules.isInside(address) : this.rules.allows(address, port);
  }

  private async lookUp(host: string, signal: AbortSignal): Promise<string[]> {
    try {
      return await abortable(this.resolve(host), signal);
    } catch (error) {
      if (signal.aborted) throw sendErrorOf(error, signal);
      const isUnknown = UNKNOWN_NAME.has(String((error as NodeJS.ErrnoException).code));
      const text = isUnknown ? 'is not known' : 'could not be looked up';
      throw new SendError(`The receiver’s name ${text}.`, { cause: error });
    }
  }
}

/** What DNS says when there is no such name; everything else may pass sooner. */
const UNKNOWN_NAME = new Set(['ENOTFOUND', 'ENODATA', 'EBADNAME']);

function open(address: string, port: number, signal: AbortSignal): Promise<Socket> {
  return settled(connect({ host: address, port, family: isIP(address) }), 'connect', signal);
}

/** Waits for a socket to be ready, and leaves no trace of the waiting on it. */
function settled<S extends Socket>(socket: S, event: string, signal: AbortSignal): Promise<S> {
  return new Promise((resolve, reject) => {
    const done = (error?: unknown) => {
      socket.off('error', done).off(event, ready);
      signal.removeEventListener('abort', abort);
      if (error === undefined) return resolve(socket);
      // What it may still say is heard by nobody, and must not end the process.
      socket.on('error', () => undefined).destroy();
      reject(error);
    };
    const ready = () => done();
    const abort = () => done(signal.reason);
    socket.once('error', done).once(event, ready);
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
  });
}

function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

const TEXTS: Record<string, string> = {
  ECONNREFUSED: 'The receiver refused the connection.',
  ECONNRESET: 'The receiver cut the connection.',
  EPIPE: 'The receiver cut the connection.',
  EHOSTUNREACH: 'The receiver cannot be reached.',
  ENETUNREACH: 'The receiver cannot be reached.',
  ETIMEDOUT: 'The receiver did not answer in time.',
};

/** A fault of the way there in our own words: what a library says may hold addresses, or what the receiver said. */
export function sendErrorOf(error: unknown, signal: AbortSignal): SendError {
  if (error instanceof SendError) return error;
  if (signal.aborted) {
    const isLate = (signal.reason as Error | undefined)?.name === 'TimeoutError';
    return new SendError(isLate ? 'The receiver did not answer in time.' : 'The sending was stopped.', {
      cause: error,
    });
  }
  const code = String((error as NodeJS.ErrnoException | undefined)?.code ?? '');
  const isTls = /^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO)/.test(code);
  const text =
    TEXTS[code] ?? (isTls ? 'The receiver’s certificate is not valid for it.' : 'The connection failed.');
  return new SendError(text, { cause: error });
}
