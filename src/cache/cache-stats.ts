import type { CacheKey } from './cache-key.js';
import { prefixOf } from './cache-key.js';
import type { PackProblem } from './cache-value.js';

/** How often, how long, in milliseconds. */
export interface Latency {
  count: number;
  sumMs: number;
  maxMs: number;
}

/** What was given to callers, since the start. */
export interface Answers {
  l1Hits: number;
  l2Hits: number;
  /** Computed, or joined while it was being computed. */
  misses: number;
  /** Just over, given because the source failed or was slow. */
  stale: number;
}

/** What the cache has done since the start, and how it is now. */
export interface CacheReport extends Answers {
  prefixes: Record<string, Answers>;
  l1: { entries: number; bytes: number; maxEntries: number; maxBytes: number; evictions: number };
  /** Undefined where there is none. */
  l2: { isUp: boolean; errors: number; lastError?: string; owedInvalidations: number } | undefined;
  /** Invalidations of other instances are heard; true where there are no others. */
  isListening: boolean;
  /** Computations: how many, how long they took, and how many failed. */
  computed: Latency & { failed: number };
  /** Answers of Redis, failures included. */
  l2Latency: Latency;
  /** Values that were served but not kept. */
  uncacheable: Record<PackProblem, number>;
  /** Values that were not kept because what they were computed from was invalidated meanwhile. */
  outdated: number;
  /** Asked for here, and heard from other instances. */
  invalidations: { own: number; heard: number };
}

const noAnswers = (): Answers => ({ l1Hits: 0, l2Hits: 0, misses: 0, stale: 0 });
const noLatency = (): Latency => ({ count: 0, sumMs: 0, maxMs: 0 });

function add(latency: Latency, ms: number): void {
  latency.count++;
  latency.sumMs += ms;
  if (ms > latency.maxMs) latency.maxMs = ms;
}

/** Counts what the cache does. Whoever shows it reads it from here; the cache knows of no metrics library. */
export class CacheStats {
  private readonly prefixes = new Map<string, Answers>();
  private readonly shared = noLatency();
  private readonly computations = { ...noLatency(), failed: 0 };
  private readonly packProblems: Record<PackProblem, number> = { too_large: 0, not_serialisable: 0 };
  private errors = 0;
  private lastError: string | undefined;
  outdated = 0;
  ownInvalidations = 0;
  heardInvalidations = 0;

  /** The counters of the key's prefix; there are as many as builders of keys. */
  answers(key: CacheKey): Answers {
    const prefix = prefixOf(key);
    let answers = this.prefixes.get(prefix);
    if (answers === undefined) {
      answers = noAnswers();
      this.prefixes.set(prefix, answers);
    }
    return answers;
  }

  computed(ms: number, hasFailed: boolean): void {
    add(this.computations, ms);
    if (hasFailed) this.computations.failed++;
  }

  notKept(problem: PackProblem): void {
    this.packProblems[problem]++;
  }

  sharedAsked(ms: number): void {
    add(this.shared, ms);
  }

  sharedFailed(what: string, error: Error): void {
    this.errors++;
    this.lastError = `${what}: ${error.message}`;
  }

  get sharedErrors(): { errors: number; lastError?: string } {
    return { errors: this.errors, lastError: this.lastError };
  }

  /** A copy of all that is counted here. */
  report(): Omit<CacheReport, 'l1' | 'l2' | 'isListening'> {
    const total = noAnswers();
    for (const answers of this.prefixes.values())
      for (const name of Object.keys(total) as (keyof Answers)[]) total[name] += answers[name];
    return {
      ...total,
      prefixes: Object.fromEntries([...this.prefixes].map(([prefix, answers]) => [prefix, { ...answers }])),
      computed: { ...this.computations },
      l2Latency: { ...this.shared },
      uncacheable: { ...this.packProblems },
      outdated: this.outdated,
      invalidations: { own: this.ownInvalidations, heard: this.heardInvalidations },
    };
  }
}
