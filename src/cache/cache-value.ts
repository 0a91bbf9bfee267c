/** A value as both tiers keep it. */
export interface Packed {
  readonly text: string;
  /** What it costs in memory, about. */
  readonly bytes: number;
}

export type PackProblem = 'too_large' | 'not_serialisable';

/** Measured: 1 byte per character of long texts, 1.3 of rows, 3 of arrays of numbers; it is the last that must not surprise. */
const MEMORY_PER_CHARACTER = 3;
const ENTRY_BYTES = 400;
/** Of objects in objects. */
const MAX_DEPTH = 500;

class Unpackable extends Error {
  constructor(readonly problem: PackProblem) {
    super(problem);
  }
}

/** Freezes plain data in depth. Counts the characters that it will have at least, to give up early on what is too large. */
class Freezer {
  private length = 0;
  private depth = 0;

  constructor(private readonly maxLength: number) {}

  freeze(value: unknown): void {
    if (typeof value === 'string') this.add(value.length + 2);
    else if (typeof value === 'object' && value !== null) this.freezeObject(value);
    else if (value === null || value === undefined || typeof value === 'boolean' || Number.isFinite(value))
      this.add(1);
    // JSON has no place for the others, and a value must not depend on the tier that it comes from.
    else throw new Unpackable('not_serialisable');
  }

  /** What is in itself is too deep. */
  private freezeObject(value: object): void {
    this.add(1);
    if (++this.depth > MAX_DEPTH) throw new Unpackable('not_serialisable');
    if (Array.isArray(value)) this.freezeItems(value);
    else this.freezeFields(value as Record<string, unknown>);
    this.depth--;
    Object.freeze(value);
  }

  private freezeItems(items: unknown[]): void {
    for (const item of items) {
      if (item === undefined) throw new Unpackable('not_serialisable');
      this.freeze(item);
    }
  }

  private freezeFields(value: Record<string, unknown>): void {
    const prototype = Object.getPrototypeOf(value);
    if ((prototype !== Object.prototype && prototype !== null) || typeof value.toJSON === 'function')
      throw new Unpackable('not_serialisable');
    for (const name in value) {
      this.add(name.length + 3);
      this.freeze(value[name]);
    }
  }

  private add(length: number): void {
    this.length += length;
    if (this.length > this.maxLength) throw new Unpackable('too_large');
  }
}

/**
 * Makes a value ready to be kept: frozen in depth, so that no caller can change it under another, and as text. Only plain data that
 * JSON gives back as it was: no dates, classes, bigints, NaN. A field that is undefined may be missing afterwards.
 *
 * @param maxLength of the text, in characters
 * @returns what is wrong with it when it cannot be kept; parts of it may be frozen then
 */
export function pack(value: unknown, maxLength: number): Packed | PackProblem {
  if (value === undefined) return 'not_serialisable';
  try {
    new Freezer(maxLength).freeze(value);
    const text = JSON.stringify(value);
    return text.length > maxLength ? 'too_large' : { text, bytes: bytesOf(text) };
  } catch (error) {
    // Others come from what is nested too deeply, or from a getter.
    return error instanceof Unpackable ? error.problem : 'not_serialisable';
  }
}

/** @throws SyntaxError when the text is not one that `pack` made */
export function unpack(text: string): unknown {
  return deepFreeze(JSON.parse(text));
}

export function bytesOf(text: string): number {
  return ENTRY_BYTES + MEMORY_PER_CHARACTER * text.length;
}

function deepFreeze(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) for (const item of value) deepFreeze(item);
  else for (const name in value) deepFreeze((value as Record<string, unknown>)[name]);
  return Object.freeze(value);
}
