import { join } from 'node:path';
import protobuf from 'protobufjs';
import { PACKAGE_ROOT } from '../../src/version.js';

// Tests build and read values nested deeper than protobufjs' own limit of 100 messages.
protobuf.util.recursionLimit = 10_000;
protobuf.Reader.recursionLimit = 10_000;

const COLLECTOR = 'opentelemetry/proto/collector';
const root = new protobuf.Root();
root.resolvePath = (_, target) => join(PACKAGE_ROOT, 'proto', target);
root.loadSync([
  `${COLLECTOR}/trace/v1/trace_service.proto`,
  `${COLLECTOR}/logs/v1/logs_service.proto`,
  `${COLLECTOR}/metrics/v1/metrics_service.proto`,
]);
const status = protobuf.parse(`
syntax = "proto3";
message Any { string type_url = 1; bytes value = 2; }
message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
`);

/**
 * protobufjs types by role, of OTLP's own .proto files and google.rpc.Status, for building and reading bodies in tests and
 * benches; fields in lowerCamelCase as in OTLP/JSON. `encode(object).finish()` gives bytes, `decode(bytes)` a message;
 * 64-bit integers are Long (give a Long, a number or, to `fromObject`, decimal text), ids are bytes.
 */
export const otlp = {
  traces: root.lookupType('ExportTraceServiceRequest'),
  logs: root.lookupType('ExportLogsServiceRequest'),
  metrics: root.lookupType('ExportMetricsServiceRequest'),
  tracesResponse: root.lookupType('ExportTraceServiceResponse'),
  logsResponse: root.lookupType('ExportLogsServiceResponse'),
  metricsResponse: root.lookupType('ExportMetricsServiceResponse'),
  status: status.root.lookupType('Status'),
  anyValue: root.lookupType('AnyValue'),
};

/** Bytes of an OTLP message given as a plain object in lowerCamelCase; 64-bit integers may be decimal text. */
export function encodeOtlp(type: protobuf.Type, object: object): Uint8Array {
  return type.encode(type.fromObject(object)).finish();
}
