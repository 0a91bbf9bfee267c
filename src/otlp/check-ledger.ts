import { AppError } from '../errors.js';
import {
  BAD_EXEMPLAR_ID,
  BAD_LINK_ID,
  BAD_TIME,
  isOptionalId,
  isTimeAccepted,
  judgeLog,
  judgeSpan,
  TOO_DEEP,
  VERDICTS,
} from './item-rules.js';
import { TimeBounds } from './time-window.js';

/** The messages that hold items and can take all of them down when their own attributes are too deep. */
export const RESOURCE_BLOCK = 0;
export const SCOPE_BLOCK = 1;
export const METRIC_BLOCK = 2;

/**
 * What belongs to a resource, scope or metric is repeated in every row. A small body with large attributes and many
 * items could so become any amount of memory; beyond this many bytes it is refused.
 */
const MAX_REPEATED_BYTES = 256 * 1024 * 1024;

/**
 * Counts the items of one body and why some are rejected, while the check pass walks over it.
 *
 * `counts[0]` is the number of items, `counts[verdict]` how many were rejected with that verdict. A block remembers
 * the counts from before it, because what is wrong with a resource may stand behind the items it applies to.
 */
export class CheckLedger {
  readonly bounds = new TimeBounds();
  readonly counts = new Int32Array(VERDICTS);
  private readonly before = new Int32Array(3 * VERDICTS);
  private readonly dead = new Uint8Array(3);
  /** Bytes of the resource, scope or metric that are repeated for each item of the open block. */
  private readonly repeated = new Int32Array(3);
  private repeatedBytes = 0;
  private deep = false;
  private badSub = 0;
  /** Positions (-1: missing) and lengths of the current item's fields; the last one of a repeated field counts. */
  traceAt = -1;
  traceLength = 0;
  spanAt = -1;
  spanLength = 0;
  parentLength = 0;
  timeAt = -1;
  observedAt = -1;
  /** Id lengths of the current link or exemplar. */
  subTraceLength = 0;
  subSpanLength = 0;

  beginBody(): void {
    this.counts.fill(0);
    this.repeatedBytes = 0;
  }

  beginBlock(level: number): void {
    const { counts, before } = this;
    this.dead[level] = 0;
    this.repeated[level] = 0;
    for (let i = 0; i < VERDICTS; i++) before[level * VERDICTS + i] = counts[i];
  }

  /** `bytes` more (or, negative, fewer) of the block's own are in every row. */
  addRepeated(level: number, bytes: number): void {
    this.repeated[level] += bytes;
  }

  endBlock(level: number): void {
    const items = this.counts[0] - this.before[level * VERDICTS];
    this.repeatedBytes += items * this.repeated[level];
    if (this.repeatedBytes > MAX_REPEATED_BYTES) {
      throw new AppError(
        'BODY_TOO_LARGE',
        'Resource, scope or metric attributes times the items they apply to are more than 256 MiB: send fewer items a request',
      );
    }
    if (this.dead[level] === 0) return;
    this.forgetItems(level);
    this.counts[0] += items;
    this.counts[TOO_DEEP] += items;
  }

  /** A value too deep in what belongs to the block itself: all its items will be rejected. */
  condemnBlock(level: number): void {
    this.dead[level] = 1;
  }

  /** The items counted since the block began are not there after all: a later member of the oneof replaced them. */
  forgetItems(level: number): void {
    const { counts, before } = this;
    for (let i = 0; i < VERDICTS; i++) counts[i] = before[level * VERDICTS + i];
  }

  beginItem(): void {
    this.deep = false;
    this.badSub = 0;
    this.traceAt = -1;
    this.traceLength = 0;
    this.spanAt = -1;
    this.spanLength = 0;
    this.parentLength = 0;
    this.timeAt = -1;
    this.observedAt = -1;
  }

  condemnItem(): void {
    this.deep = true;
  }

  endSpan(view: DataView): void {
    const { traceAt, traceLength, spanAt, spanLength, parentLength, timeAt, bounds } = this;
    this.endItem(judgeSpan(view, traceAt, traceLength, spanAt, spanLength, parentLength, timeAt, bounds));
  }

  endLog(view: DataView): void {
    const { traceLength, spanLength, timeAt, observedAt, bounds } = this;
    this.endItem(judgeLog(view, traceLength, spanLength, timeAt, observedAt, bounds));
  }

  endPoint(view: DataView): void {
    this.endItem(isTimeAccepted(view, this.timeAt, this.bounds) ? 0 : BAD_TIME);
  }

  private endItem(verdict: number): void {
    this.counts[0]++;
    if (this.deep) this.counts[TOO_DEEP]++;
    else if (this.badSub !== 0) this.counts[this.badSub]++;
    else if (verdict !== 0) this.counts[verdict]++;
  }

  beginSub(): void {
    this.subTraceLength = 0;
    this.subSpanLength = 0;
  }

  endLink(): void {
    if (!this.isSubValid()) this.badSub = BAD_LINK_ID;
  }

  endExemplar(): void {
    if (!this.isSubValid()) this.badSub = BAD_EXEMPLAR_ID;
  }

  private isSubValid(): boolean {
    return isOptionalId(this.subTraceLength, 16) && isOptionalId(this.subSpanLength, 8);
  }
}
