import { hash, randomBytes } from 'node:crypto';
import type { Redis, ScriptValue } from '../connections/redis.js';
import type { Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import { type AddResult, type IngestEntry, reasonsOf } from '../queue/ingest-queue.js';
import type { Signal } from '../signal.js';
import { ADD } from './add-script.js';
import { laneOf, reasonsText } from './lane.js';
import { asAppError } from './redis-errors.js';
import type { RedisWatch } from './redis-watch.js';
import { PREFIX } from './script.js';

/** Where an entry waits, and what makes its body another one than the same bytes of another tenant or signal. */
interface Owner {
  signal: Signal;
  lane: string;
  digest: Buffer;
}

/** Bodies that go to Redis together; a larger one goes alone. */
const MAX_GROUP_BYTES = 4 * 1024 * 1024;
const MAX_GROUP_ENTRIES = 1000;
/**
 * When Redis is away that is said at once. One that is there and does not answer, while it waits for its disk say, is given so long,
 * and as much more as the bytes need on a slow network: some SDKs drop what is refused.
 */
const BASE_TIMEOUT_MS = 1000;
const BYTES_PER_MS = 64 * 1024;

interface Adding {
  entry: IngestEntry;
  resolve(result: AddResult): void;
  reject(error: Error): void;
}

/**
 * Brings entries into Redis. One write is on its way at a time, and what comes meanwhile shares the next one: the more there
 * is to do, the less a request costs.
 */
export class EntryWriter {
  private waiting: Adding[] = [];
  private writing: Promise<void> | undefined;
  /** Never used before by any process: a body can't be taken for another one's, whatever Redis forgot. */
  private readonly idPrefix = randomBytes(8).toString('hex');
  private lastId = 0;
  /** By the object that stands for a tenant, which a key that is known keeps. */
  private readonly owners = new WeakMap<Scope, Map<Signal, Owner>>();

  constructor(
    private readonly redis: Redis,
    private readonly watch: RedisWatch,
    private readonly channel: string,
    private readonly maxBacklogBytes: number,
  ) {}

  /** @throws AppError BACKLOG_FULL, DISK_FULL, UNAVAILABLE: it may be in the queue or not, and is folded when it is sent again */
  add(entry: IngestEntry): Promise<AddResult> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ entry, resolve, reject });
      this.writing ??= this.writeAll();
    });
  }

  /** Resolves when nothing is on its way. */
  async idle(): Promise<void> {
    await this.writing;
  }

  private async writeAll(): Promise<void> {
    // What comes in the same turn of the event loop goes together.
    await Promise.resolve();
    while (this.waiting.length > 0) await this.write(this.nextGroup());
    this.writing = undefined;
  }

  private nextGroup(): Adding[] {
    let bytes = 0;
    let end = 0;
    do bytes += this.waiting[end++].entry.body.length;
    while (
      end < Math.min(this.waiting.length, MAX_GROUP_ENTRIES) &&
      bytes + this.waiting[end].entry.body.length <= MAX_GROUP_BYTES
    );
    return this.waiting.splice(0, end);
  }

  private async write(group: readonly Adding[]): Promise<void> {
    const bytes = group.reduce((sum, { entry }) => sum + entry.body.length, 0);
    try {
      this.watch.assertRoom(bytes);
      const values: ScriptValue[] = [this.channel, this.maxBacklogBytes];
      const ordered: Adding[] = [];
      for (const [{ signal, lane }, addings] of this.byOwner(group)) {
        values.push(signal, lane, addings.length);
        for (const adding of addings) {
          ordered.push(adding);
          this.pushValues(values, adding.entry);
        }
      }
      const timeoutMs = BASE_TIMEOUT_MS + bytes / BYTES_PER_MS;
      const answers = (await this.redis.evaluate(ADD, [PREFIX], values, timeoutMs)) as string[];
      this.watch.added(bytes);
      for (const [index, adding] of ordered.entries()) this.settle(adding, answers[index]);
    } catch (error) {
      const refusal = asAppError(error);
      for (const { reject } of group) reject(refusal);
    }
  }

  private settle({ resolve, reject }: Adding, answer: string): void {
    const rest = answer.slice(1);
    if (answer === '') resolve({ duplicate: false });
    else if (answer[0] === 'F') {
      const message = `${rest} of ${this.maxBacklogBytes} bytes wait for the store`;
      reject(new AppError('BACKLOG_FULL', message, { retryAfterSeconds: 1 }));
    } else {
      const end = rest.indexOf(' ');
      resolve({ duplicate: true, rejected: Number(rest.slice(0, end)), note: rest.slice(end + 1) });
    }
  }

  private byOwner(group: readonly Adding[]): Map<Owner, Adding[]> {
    const owners = new Map<Owner, Adding[]>();
    for (const adding of group) {
      const owner = this.ownerOf(adding.entry);
      const others = owners.get(owner);
      if (others) others.push(adding);
      else owners.set(owner, [adding]);
    }
    return owners;
  }

  private ownerOf({ scope, signal }: IngestEntry): Owner {
    const known = this.owners.get(scope)?.get(signal);
    if (known) return known;
    const lane = laneOf(scope);
    const owner = { signal, lane, digest: hash('sha256', `${signal} ${lane}`, 'buffer') };
    const others = this.owners.get(scope) ?? [];
    this.owners.set(scope, new Map([...others, [signal, owner]]));
    return owner;
  }

  /** In the order of `ADD`. */
  private pushValues(values: ScriptValue[], entry: IngestEntry): void {
    const { items, receivedAtMs, retentionDays, rejected, note, body, contentHash } = entry;
    const { digest } = this.ownerOf(entry);
    const seen = Buffer.allocUnsafe(contentHash.length);
    for (let i = 0; i < seen.length; i++) seen[i] = contentHash[i] ^ digest[i];
    const line = `${this.idPrefix}-${++this.lastId} ${body.length} ${items} ${receivedAtMs} ${retentionDays}`;
    const told = `${reasonsText(reasonsOf(entry))} ${rejected} ${note}`;
    values.push(seen, line, told, Buffer.from(body.buffer, body.byteOffset, body.byteLength));
  }
}
