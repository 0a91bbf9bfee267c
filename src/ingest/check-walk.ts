import { AppError } from '../errors.js';
import { CheckLedger, METRIC_BLOCK, RESOURCE_BLOCK, SCOPE_BLOCK } from './check-ledger.js';
import { MESSAGES } from './otlp-schema.js';
import { highBits, isUtf8Text, MAX_VALUE_DEPTH, readLength, readVarint32, varintEnd } from './wire.js';

// Inlined by the compiler only within one file, and the loop below needs them inlined.
enum Kind {
  Unknown,
  Skipped,
  String,
  PackedFixed64,
  PackedVarint,
  TraceId,
  SpanId,
  ParentId,
  Time,
  ObservedTime,
  Message,
  KeyValue,
}
enum Role {
  None,
  Resource,
  Scope,
  ResourceBlock,
  ScopeBlock,
  Metric,
  Data,
  Span,
  Log,
  Point,
  Link,
  Exemplar,
  Container,
}
const VARINT = 1 << 0;
const FIXED64 = 1 << 1;
const DELIMITED = 1 << 2;
const FIXED32 = 1 << 5;
const ANY_WIRE_TYPE = VARINT | FIXED64 | DELIMITED | FIXED32;

const SCALARS: Readonly<Record<string, readonly [kind: Kind, wireTypes: number]>> = {
  varint: [Kind.Skipped, VARINT],
  fixed64: [Kind.Skipped, FIXED64],
  fixed32: [Kind.Skipped, FIXED32],
  bytes: [Kind.Skipped, DELIMITED],
  string: [Kind.String, DELIMITED],
  'packed fixed64': [Kind.PackedFixed64, FIXED64 | DELIMITED],
  'packed varint': [Kind.PackedVarint, VARINT | DELIMITED],
  trace_id: [Kind.TraceId, DELIMITED],
  span_id: [Kind.SpanId, DELIMITED],
  parent_span_id: [Kind.ParentId, DELIMITED],
  time: [Kind.Time, FIXED64],
  observed_time: [Kind.ObservedTime, FIXED64],
};
const ROLES_BY_NAME: Readonly<Record<string, Role>> = {
  Resource: Role.Resource,
  Scope: Role.Scope,
  ResourceSpans: Role.ResourceBlock,
  ResourceLogs: Role.ResourceBlock,
  ResourceMetrics: Role.ResourceBlock,
  ScopeSpans: Role.ScopeBlock,
  ScopeLogs: Role.ScopeBlock,
  ScopeMetrics: Role.ScopeBlock,
  Metric: Role.Metric,
  Gauge: Role.Data,
  Sum: Role.Data,
  Histogram: Role.Data,
  ExponentialHistogram: Role.Data,
  Summary: Role.Data,
  Span: Role.Span,
  LogRecord: Role.Log,
  NumberDataPoint: Role.Point,
  HistogramDataPoint: Role.Point,
  ExponentialHistogramDataPoint: Role.Point,
  SummaryDataPoint: Role.Point,
  Link: Role.Link,
  Exemplar: Role.Exemplar,
  ArrayValue: Role.Container,
  KeyValueList: Role.Container,
};

/** A field is looked up at `message << FIELD_BITS | number`: kind, wire types << 8, message of the field << 16. */
const FIELD_BITS = 5;
const NAMES = Object.keys(MESSAGES);
const ROLES = Uint8Array.from(NAMES, (name) => ROLES_BY_NAME[name] ?? Role.None);
const FIELDS = new Int32Array(NAMES.length << FIELD_BITS).fill(Kind.Unknown | (ANY_WIRE_TYPE << 8));
for (const [message, name] of NAMES.entries()) {
  for (const [number, [, type]] of Object.entries(MESSAGES[name])) {
    const [kind, wireTypes] = SCALARS[type] ?? [
      type === 'KeyValue' ? Kind.KeyValue : Kind.Message,
      DELIMITED,
    ];
    const target = SCALARS[type] ? 0 : NAMES.indexOf(type);
    FIELDS[(message << FIELD_BITS) | Number(number)] = kind | (wireTypes << 8) | (target << 16);
  }
}
const UNKNOWN_FIELD = Kind.Unknown | (ANY_WIRE_TYPE << 8);

/** Messages open at one time: six around a value, three for each level of a value, some to spare. */
const MAX_OPEN = 16 + 3 * MAX_VALUE_DEPTH;

/**
 * The walk of the check pass: every byte of a body is seen once, nothing is allocated (but for text beyond ASCII that
 * is longer than a few hundred bytes). Not recursive: what is open stands on a stack of its own.
 */
export class CheckWalk {
  readonly ledger = new CheckLedger();
  invalidUtf8 = 0;
  private bytes: Uint8Array = new Uint8Array(0);
  private view: DataView = new DataView(this.bytes.buffer);
  private readonly openMessage = new Uint8Array(MAX_OPEN);
  private readonly openEnd = new Int32Array(MAX_OPEN);
  private readonly openField = new Int32Array(MAX_OPEN);
  private open = 0;
  private nesting = 0;

  /**
   * @param body a Uint8Array proper (not a Buffer: two kinds of arrays would slow every access)
   * @param rootMessage name in the schema
   * @throws AppError MALFORMED_BODY
   */
  run(body: Uint8Array, rootMessage: string): void {
    this.bytes = body;
    this.view = new DataView(body.buffer, body.byteOffset, body.byteLength);
    this.invalidUtf8 = 0;
    this.open = 0;
    this.nesting = 0;
    this.ledger.beginBody();
    this.walk(NAMES.indexOf(rootMessage));
  }

  private walk(rootMessage: number): void {
    const { bytes, view, openMessage, openEnd, openField } = this;
    let message = rootMessage;
    let end = bytes.length;
    let pos = 0;
    for (;;) {
      if (pos === end) {
        if (ROLES[message] !== Role.None) this.leave(ROLES[message]);
        if (this.open === 0) return;
        const outer = --this.open;
        message = openMessage[outer];
        end = openEnd[outer];
        continue;
      }
      const start = pos;
      let tag = bytes[pos++];
      if (tag > 0x7f) {
        tag = readVarint32(bytes, start, end);
        if (tag < 0) this.fail('field tag is cut off', start, message, 0);
        pos = varintEnd[0];
      }
      const number = tag >>> 3;
      if (number === 0) this.fail('field number 0', start, message, 0);
      const field = number < 32 ? FIELDS[(message << FIELD_BITS) | number] : UNKNOWN_FIELD;
      if (((field >> (8 + (tag & 7))) & 1) === 0) this.failWireType(tag, start, message, field);
      switch (tag & 7) {
        case 0:
          pos = this.skipVarint(pos, end, message, number);
          break;
        case 1:
          if (pos + 8 > end) this.fail('8-byte value is cut off', start, message, number);
          if ((field & 0xff) >= Kind.Time) this.noteTime(field & 0xff, pos);
          pos += 8;
          break;
        case 5:
          if (pos + 4 > end) this.fail('4-byte value is cut off', start, message, number);
          pos += 4;
          break;
        default: {
          let length = bytes[pos++];
          if (length > 0x7f) {
            length = readLength(bytes, pos - 1, end);
            pos = varintEnd[0];
          }
          // `!(<=)` instead of `>`: a length that begins behind the last byte is undefined
          if (length < 0 || !(pos + length <= end))
            this.fail('length runs past the end', start, message, number);
          const kind = field & 0xff;
          if (kind < Kind.Message) {
            if (kind !== Kind.Skipped) this.checkScalar(kind, pos, pos + length, message, number);
            pos += length;
          } else if (kind === Kind.KeyValue && isPlainKeyValue(bytes, view, pos, pos + length)) {
            pos += length;
          } else {
            const inner = field >> 16;
            const role = ROLES[inner];
            if (role !== Role.None && this.enter(role)) {
              pos += length;
              break;
            }
            openMessage[this.open] = message;
            openEnd[this.open] = end;
            openField[this.open++] = number;
            message = inner;
            end = pos + length;
          }
        }
      }
    }
  }

  private skipVarint(pos: number, end: number, message: number, number: number): number {
    const { bytes } = this;
    const last = pos + 10 < end ? pos + 10 : end;
    for (let at = pos; at < last; ) if (bytes[at++] < 0x80) return at;
    return this.fail('varint is cut off or longer than 10 bytes', pos, message, number);
  }

  private checkScalar(kind: Kind, pos: number, end: number, message: number, number: number): void {
    const { ledger } = this;
    switch (kind) {
      case Kind.String:
        if (highBits(this.view, pos, end) !== 0 && !isUtf8Text(this.bytes, pos, end)) this.invalidUtf8++;
        return;
      case Kind.TraceId:
        if (isSub(message)) ledger.subTraceLength = end - pos;
        else {
          ledger.traceAt = pos;
          ledger.traceLength = end - pos;
        }
        return;
      case Kind.SpanId:
        if (isSub(message)) ledger.subSpanLength = end - pos;
        else {
          ledger.spanAt = pos;
          ledger.spanLength = end - pos;
        }
        return;
      case Kind.ParentId:
        ledger.parentLength = end - pos;
        return;
      case Kind.PackedFixed64:
        if (((end - pos) & 7) !== 0) this.fail('packed length is not a multiple of 8', pos, message, number);
        return;
      case Kind.PackedVarint:
        while (pos < end) pos = this.skipVarint(pos, end, message, number);
    }
  }

  private noteTime(kind: Kind, pos: number): void {
    if (kind === Kind.Time) this.ledger.timeAt = pos;
    else this.ledger.observedAt = pos;
  }

  /** @returns true when the message is too deep and is to be skipped */
  private enter(role: Role): boolean {
    const { ledger } = this;
    switch (role) {
      case Role.Span:
      case Role.Log:
      case Role.Point:
        ledger.beginItem();
        return false;
      case Role.Link:
      case Role.Exemplar:
        ledger.beginSub();
        return false;
      case Role.ResourceBlock:
        ledger.beginBlock(RESOURCE_BLOCK);
        return false;
      case Role.ScopeBlock:
        ledger.beginBlock(SCOPE_BLOCK);
        return false;
      case Role.Metric:
        ledger.beginBlock(METRIC_BLOCK);
        return false;
      case Role.Data:
        ledger.forgetItems(METRIC_BLOCK);
        return false;
      case Role.Container:
        if (this.nesting < MAX_VALUE_DEPTH) {
          this.nesting++;
          return false;
        }
        this.condemnOwner();
        return true;
      default:
        return false;
    }
  }

  private leave(role: Role): void {
    const { ledger, view } = this;
    switch (role) {
      case Role.Span:
        return ledger.endSpan(view);
      case Role.Log:
        return ledger.endLog(view);
      case Role.Point:
        return ledger.endPoint(view);
      case Role.Link:
        return ledger.endLink();
      case Role.Exemplar:
        return ledger.endExemplar();
      case Role.ResourceBlock:
        return ledger.endBlock(RESOURCE_BLOCK);
      case Role.ScopeBlock:
        return ledger.endBlock(SCOPE_BLOCK);
      case Role.Metric:
        return ledger.endBlock(METRIC_BLOCK);
      case Role.Container:
        this.nesting--;
    }
  }

  /** Rejects what the too deep value belongs to: an item, or all items of a resource, scope or metric. */
  private condemnOwner(): void {
    for (let i = this.open - 1; i >= 0; i--) {
      switch (ROLES[this.openMessage[i]]) {
        case Role.Span:
        case Role.Log:
        case Role.Point:
          return this.ledger.condemnItem();
        case Role.Resource:
          return this.ledger.condemnBlock(RESOURCE_BLOCK);
        case Role.Scope:
          return this.ledger.condemnBlock(SCOPE_BLOCK);
        case Role.Metric:
          return this.ledger.condemnBlock(METRIC_BLOCK);
      }
    }
  }

  private failWireType(tag: number, pos: number, message: number, field: number): never {
    const known = (field & 0xff) !== Kind.Unknown;
    const problem = known
      ? `wire type ${tag & 7} does not fit the field`
      : `unsupported wire type ${tag & 7}`;
    return this.fail(problem, pos, message, tag >>> 3);
  }

  private fail(problem: string, pos: number, message: number, number: number): never {
    const path: string[] = [];
    for (let i = 0; i < this.open; i++) path.push(MESSAGES[NAMES[this.openMessage[i]]][this.openField[i]][0]);
    if (number !== 0) path.push(MESSAGES[NAMES[message]][number]?.[0] ?? `field ${number}`);
    const where = path.length === 0 ? '' : ` in ${path.join('.')}`;
    throw new AppError('MALFORMED_BODY', `Not an OTLP protobuf message: ${problem}${where}, at byte ${pos}`);
  }
}

function isSub(message: number): boolean {
  return ROLES[message] === Role.Link || ROLES[message] === Role.Exemplar;
}

/**
 * True when [pos, end) is a KeyValue as every SDK writes it (key, value, nothing else, lengths under 128) with a plain
 * value and ASCII text, so that nothing is left to check. Anything else goes the general way.
 */
function isPlainKeyValue(bytes: Uint8Array, view: DataView, pos: number, end: number): boolean {
  if (end - pos < 4 || bytes[pos] !== 0x0a) return false;
  const keyLength = bytes[pos + 1];
  const value = pos + 2 + keyLength;
  if (keyLength > 0x7f || value + 4 > end || bytes[value] !== 0x12) return false;
  if (bytes[value + 1] !== end - value - 2 || bytes[value + 1] > 0x7f) return false;
  if (highBits(view, pos + 2, value) !== 0) return false;
  const at = value + 2;
  switch (bytes[at]) {
    case 0x0a:
      return bytes[at + 1] === end - at - 2 && highBits(view, at + 2, end) === 0;
    case 0x10:
    case 0x18: {
      const last = end - 1;
      if (last - at > 10 || bytes[last] > 0x7f) return false;
      for (let i = at + 1; i < last; i++) if (bytes[i] < 0x80) return false;
      return true;
    }
    case 0x21:
      return end - at === 9;
    default:
      return false;
  }
}
