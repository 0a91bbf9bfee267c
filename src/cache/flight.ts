import type { CacheKey } from './cache-key.js';
import { type Invalidation, whatIsMeant } from './invalidation.js';

export type Source = 'L1' | 'L2' | 'miss' | 'stale';

/** A value and where it came from. */
export interface Cached<T> {
  readonly value: T;
  readonly source: Source;
}

/** A value on its way to memory. */
export interface Watch {
  readonly key: CacheKey;
  isOutdated: boolean;
}

/** One value on its way, and all who wait for it. */
export class Flight implements Watch {
  readonly answer: Promise<Cached<unknown>>;
  /** What it is made of has been invalidated meanwhile: those who wait get it, nobody after them does. */
  isOutdated = false;
  /** It has a value, or failed. */
  private isOver = false;
  private land!: (answer: Cached<unknown>) => void;
  private crash!: (error: unknown) => void;
  private stale: { readonly value: unknown } | undefined;
  private patience: NodeJS.Timeout | undefined;
  private passengers = 0;
  private controller: AbortController | undefined;
  private isDeserted = false;

  /** @param staleAfterMs how long those who wait do so while there is a value that is just over */
  constructor(
    readonly key: CacheKey,
    private readonly staleAfterMs: number,
  ) {
    this.answer = new Promise((resolve, reject) => {
      this.land = resolve;
      this.crash = reject;
    });
  }

  /** Aborted when all who waited have gone away. */
  get signal(): AbortSignal {
    this.controller ??= new AbortController();
    if (this.isDeserted) this.controller.abort();
    return this.controller.signal;
  }

  /** Whoever comes now gets its value. */
  get isOpen(): boolean {
    return !this.isOver && !this.isDeserted;
  }

  /**
   * Waits for the value.
   *
   * @throws the signal's reason when the caller goes away first, else what the source throws
   */
  board(signal: AbortSignal | undefined): Promise<Cached<unknown>> {
    this.passengers++;
    if (signal === undefined) return this.answer;
    return new Promise((resolve, reject) => {
      const leave = () => {
        if (--this.passengers === 0) this.desert(signal.reason);
        reject(signal.reason);
      };
      if (signal.aborted) return leave();
      signal.addEventListener('abort', leave, { once: true });
      this.answer.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
    });
  }

  /** A value that is just over, to be given when the source fails or is slow. */
  offerStale(value: unknown): void {
    this.stale = { value };
    this.patience ??= setTimeout(() => this.landStale(), this.staleAfterMs);
  }

  landed(answer: Cached<unknown>): void {
    this.isOver = true;
    clearTimeout(this.patience);
    this.land(answer);
  }

  failed(error: unknown): void {
    this.isOver = true;
    clearTimeout(this.patience);
    if (this.landStale()) return;
    // Each passenger hears of it; there may be none any more.
    this.answer.catch(() => undefined);
    this.crash(error);
  }

  private desert(reason: unknown): void {
    this.isDeserted = true;
    this.controller?.abort(reason);
  }

  private landStale(): boolean {
    if (!this.stale || this.isOutdated) return false;
    this.land({ value: this.stale.value, source: 'stale' });
    return true;
  }
}

/** All values on their way: one for each key, however many ask for it. */
export class Flights {
  /** Flights too, until what they brought is in memory. */
  private readonly watches = new Set<Watch>();
  /** Those to board. */
  private readonly flights = new Map<CacheKey, Flight>();
  /** Outdated ones too. */
  private readonly work = new Set<Promise<void>>();

  /** The one to board; not one whose passengers have all gone away, as it is being called off. */
  get(key: CacheKey): Flight | undefined {
    const flight = this.flights.get(key);
    return flight?.isOpen ? flight : undefined;
  }

  /** @param work fulfilled when the flight has landed, or failed, and all is stored; never rejected */
  add(flight: Flight, work: Promise<void>): void {
    const { key } = flight;
    this.flights.set(key, flight);
    this.watches.add(flight);
    this.work.add(work);
    work.then(() => {
      this.work.delete(work);
      this.watches.delete(flight);
      if (this.flights.get(key) === flight) this.flights.delete(key);
    });
  }

  /** Until `unwatch` it is told when the key is invalidated. */
  watch(key: CacheKey): Watch {
    const watch = { key, isOutdated: false };
    this.watches.add(watch);
    return watch;
  }

  unwatch(watch: Watch): void {
    this.watches.delete(watch);
  }

  /** Whoever asks from now on gets a flight of its own. */
  invalidate(invalidation: Invalidation): void {
    const isMeant = whatIsMeant(invalidation);
    for (const watch of this.watches) if (isMeant(watch.key)) watch.isOutdated = true;
    for (const [key, flight] of this.flights) if (flight.isOutdated) this.flights.delete(key);
  }

  /** Waits for all that are on their way now. */
  async settled(): Promise<void> {
    await Promise.all(this.work);
  }
}
