"""An application with OpenTelemetry's SDK for Python: sends one item of each signal and fails when anything is not taken.

Usage: python-sdk.py grpc|http <endpoint> none|gzip <service name>; keys come from OTEL_EXPORTER_OTLP_HEADERS.
Prints the trace id.
"""

import importlib
import logging
import sys

from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

transport, endpoint, compression, service = sys.argv[1:]
package = f"opentelemetry.exporter.otlp.proto.{transport}"


def exporter(module, name, path):
    cls = getattr(importlib.import_module(f"{package}.{module}"), name)
    if transport == "grpc":
        import grpc

        chosen = grpc.Compression.Gzip if compression == "gzip" else grpc.Compression.NoCompression
        made = cls(endpoint=endpoint, insecure=True, timeout=10, compression=chosen)
    else:
        chosen = importlib.import_module(package).Compression(compression)
        made = cls(endpoint=f"{endpoint}/v1/{path}", timeout=10, compression=chosen)
    export = made.export

    def noting(*args, **kwargs):
        result = export(*args, **kwargs)
        results.append((path, result.name))
        return result

    made.export = noting
    return made


results = []
resource = Resource.create({"service.name": service})
tracers = TracerProvider(resource=resource)
tracers.add_span_processor(SimpleSpanProcessor(exporter("trace_exporter", "OTLPSpanExporter", "traces")))
loggers = LoggerProvider(resource=resource)
loggers.add_log_record_processor(SimpleLogRecordProcessor(exporter("_log_exporter", "OTLPLogExporter", "logs")))
reader = PeriodicExportingMetricReader(exporter("metric_exporter", "OTLPMetricExporter", "metrics"), 600_000)
meters = MeterProvider(resource=resource, metric_readers=[reader])

with tracers.get_tracer("shop").start_as_current_span("GET /cart", attributes={"cart.items": 3}) as span:
    trace_id = format(span.get_span_context().trace_id, "032x")
    logger = logging.getLogger("shop")
    logger.addHandler(LoggingHandler(logger_provider=loggers))
    logger.warning("stock is low", extra={"sku": "tea"})
meters.get_meter("shop").create_counter("orders").add(5)
meters.force_flush()
for provider in (tracers, loggers, meters):
    provider.shutdown()
signals = {path for path, result in results if result == "SUCCESS"}
assert signals == {"traces", "logs", "metrics"}, results
assert all(result == "SUCCESS" for _, result in results), results
print(trace_id)
