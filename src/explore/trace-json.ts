import { AppError } from '../errors.js';
import type { Meta } from '../store/statement.js';
import { PARTIAL_REASON, type Span, type Trace, type TraceReading } from '../store/trace.js';

/** Spans that are made into text in one go: some milliseconds of work. */
const AT_ONCE = 250;

/**
 * The JSON of a trace that is too long to be held in memory whole, from its first slice on. Its figures come after the spans, when they are
 * known. Where the store fails on the way, or there are more spans than are given, `meta` says so.
 *
 * @param reading has taken the spans of `first`
 */
export async function* traceJson(first: Trace, reading: TraceReading): AsyncGenerator<string> {
  yield `{"trace_id":${JSON.stringify(first.trace_id)},"spans":[`;
  yield* texts(first.spans, '');
  let failure: string | undefined;
  while (reading.hasMore && !reading.isFull && failure === undefined) {
    try {
      yield* texts(await reading.next(), ',');
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      failure = `${error.message} The first spans by their start are here.`;
    }
  }
  const reason = failure ?? (reading.hasMore ? PARTIAL_REASON : undefined);
  yield `],${JSON.stringify({ ...reading.figures(), meta: metaOf(first.meta, reading.meta(), reason) }).slice(1)}`;
}

/** Of both readings together. */
function metaOf({ partial, partial_reason, ...first }: Meta, rest: Meta, reason: string | undefined): Meta {
  return {
    ...first,
    rows_read: first.rows_read + rest.rows_read,
    bytes_read: first.bytes_read + rest.bytes_read,
    elapsed_ms: Math.round((first.elapsed_ms + rest.elapsed_ms) * 10) / 10,
    ...(reason === undefined ? {} : { partial: true, partial_reason: reason }),
  };
}

async function* texts(spans: readonly Span[], before: string): AsyncGenerator<string> {
  for (let at = 0; at < spans.length; at += AT_ONCE) {
    const text = JSON.stringify(spans.slice(at, at + AT_ONCE)).slice(1, -1);
    yield `${at === 0 ? before : ','}${text}`;
    // Others have their turn.
    await new Promise((resolve) => setImmediate(resolve));
  }
}
