"""A collector of traces: takes what OTLP exporters send over HTTP, reads the protobuf, and keeps the spans."""

import gzip
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class CollectedSpan(NamedTuple):
    """One span, as it came."""

    service: str
    process: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str]
    events: list[str]
    took_s: float
    is_error: bool


class Collector:
    """Listens on a free port of loopback; `endpoint` is what OTEL_EXPORTER_OTLP_ENDPOINT is set to."""

    def __init__(self) -> None:
        self._spans: list[CollectedSpan] = []
        self._news = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                is_traces = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
                self.send_response(200 if is_traces else 404)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                if is_traces:
                    collector._take(ExportTraceServiceRequest.FromString(body))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def spans(self) -> list[CollectedSpan]:
        with self._news:
            return list(self._spans)

    def wait_for(self, holds: Callable[[list[CollectedSpan]], bool], timeout_s: float = 30.0) -> list[CollectedSpan]:
        """Wait until what has come holds, and return it."""
        with self._news:
            if not self._news.wait_for(lambda: holds(self._spans), timeout_s):
                raise AssertionError("\n".join(map(str, self._spans)) or "no span has come")
            return list(self._spans)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, request: ExportTraceServiceRequest) -> None:
        with self._news:
            for resource in request.resource_spans:
                of = {one.key: one.value.string_value for one in resource.resource.attributes}
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        self._spans.append(
                            CollectedSpan(
                                service=of["service.name"],
                                process=of.get("shoal.process", ""),
                                name=span.name,
                                trace_id=span.trace_id.hex(),
                                span_id=span.span_id.hex(),
                                parent_id=span.parent_span_id.hex(),
                                attributes={one.key: _text(one.value) for one in span.attributes},
                                events=[one.name for one in span.events],
                                took_s=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                                is_error=span.status.code == span.status.STATUS_CODE_ERROR,
                            )
                        )
            self._news.notify_all()


def _text(value: object) -> str:
    kind = value.WhichOneof("value")  # type: ignore[attr-defined]
    return str(getattr(value, kind))
