import { AppError } from '../errors.js';
import { CheckLedger, METRIC_BLOCK, RESOURCE_BLOCK, SCOPE_BLOCK } from './check-ledger.js';
import { FIELD_BITS, FIELDS, Kind, NAMES, ROLES, Role, UNKNOWN_FIELD } from './check-tables.js';
import { MESSAGES } from './otlp-schema.js';
import {
  highBits,
  isPlainKeyValue,
  isUtf8Text,
  MAX_VALUE_DEPTH,
  readLength,
  readVarint32,
  varintEnd,
} from './wire.js';

// Constants of this module the compiler folds into the loop; imported ones it loads every time (10 % of the pass).
const TABLE = FIELDS;
const UNKNOWN = UNKNOWN_FIELD;
const BITS = FIELD_BITS;
const PART = ROLES;
const NO_ROLE = Role.None;
const SKIPPED = Kind.Skipped;
const TIME = Kind.Time;
const OBSERVED_TIME = Kind.ObservedTime;
const MESSAGE = Kind.Message;
const KEY_VALUE = Kind.KeyValue;

const NOTHING = new Uint8Array(0);
const NO_VIEW = new DataView(NOTHING.buffer);

/** Messages open at one time: six around a value, three for each level of a value, some to spare. */
const MAX_OPEN = 16 + 3 * MAX_VALUE_DEPTH;

/**
 * The walk of the check pass: every byte of a body is seen once, nothing is allocated (but for text beyond ASCII that
 * is longer than a few hundred bytes). Not recursive: what is open stands on a stack of its own.
 */
export class CheckWalk {
  readonly ledger = new CheckLedger();
  invalidUtf8 = 0;
  private bytes: Uint8Array = NOTHING;
  private view: DataView = NO_VIEW;
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
    try {
      this.walk(NAMES.indexOf(rootMessage));
    } finally {
      this.bytes = NOTHING;
      this.view = NO_VIEW;
    }
  }

  private walk(rootMessage: number): void {
    const { bytes, view, ledger, openMessage, openEnd, openField } = this;
    let message = rootMessage;
    let end = bytes.length;
    let pos = 0;
    for (;;) {
      if (pos === end) {
        if (PART[message] !== NO_ROLE) this.leave(PART[message]);
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
      const field = number < 32 ? TABLE[(message << BITS) | number] : UNKNOWN;
      if (((field >> (8 + (tag & 7))) & 1) === 0) this.failWireType(tag, start, message, field);
      switch (tag & 7) {
        case 0:
          pos = this.skipVarint(pos, end, message, number);
          break;
        case 1:
          if (pos + 8 > end) this.fail('8-byte value is cut off', start, message, number);
          if ((field & 0xff) === TIME) ledger.timeAt = pos;
          else if ((field & 0xff) === OBSERVED_TIME) ledger.observedAt = pos;
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
          if (kind < MESSAGE) {
            if (kind !== SKIPPED) this.checkScalar(kind, pos, pos + length, message, number);
            pos += length;
          } else if (kind === KEY_VALUE && isPlainKeyValue(bytes, view, pos, pos + length)) {
            pos += length;
          } else {
            const inner = field >> 16;
            const role = PART[inner];
            if (role !== NO_ROLE && this.enter(role, length)) {
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
    const last = Math.min(pos + 10, end);
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

  /** @returns true when the message is too deep and is to be skipped */
  private enter(role: Role, length: number): boolean {
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
      case Role.Resource:
        ledger.addRepeated(RESOURCE_BLOCK, length);
        return false;
      case Role.Scope:
        ledger.addRepeated(SCOPE_BLOCK, length);
        return false;
      case Role.Metric:
        ledger.beginBlock(METRIC_BLOCK);
        ledger.addRepeated(METRIC_BLOCK, length);
        return false;
      case Role.Data:
        ledger.forgetItems(METRIC_BLOCK);
        ledger.addRepeated(METRIC_BLOCK, -length);
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
        ledger.endSpan(view);
        return;
      case Role.Log:
        ledger.endLog(view);
        return;
      case Role.Point:
        ledger.endPoint(view);
        return;
      case Role.Link:
        ledger.endLink();
        return;
      case Role.Exemplar:
        ledger.endExemplar();
        return;
      case Role.ResourceBlock:
        ledger.endBlock(RESOURCE_BLOCK);
        return;
      case Role.ScopeBlock:
        ledger.endBlock(SCOPE_BLOCK);
        return;
      case Role.Metric:
        ledger.endBlock(METRIC_BLOCK);
        return;
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
          this.ledger.condemnItem();
          return;
        case Role.Resource:
          this.ledger.condemnBlock(RESOURCE_BLOCK);
          return;
        case Role.Scope:
          this.ledger.condemnBlock(SCOPE_BLOCK);
          return;
        case Role.Metric:
          this.ledger.condemnBlock(METRIC_BLOCK);
          return;
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
