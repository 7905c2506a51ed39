"""A caller's trace id is passed to the request's jobs and to the collector."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ..farm import Farm, until, user
from ..texts import conversation, manual, prose, ran, rows

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def collector() -> Iterator[Any]:
    spans: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest()
            request.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
            for resource in request.resource_spans:
                names = {a.key: a.value.string_value for a in resource.resource.attributes}
                for scope in resource.scope_spans:
                    spans.extend((names["service.name"], span) for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.spans = spans  # type: ignore[attr-defined]
    yield server
    server.shutdown()
    server.server_close()


def test_request_and_job_spans_form_one_trace(
    own_farm: Callable[..., Farm], collector: Any
) -> None:
    farm = own_farm(otel_endpoint=f"http://127.0.0.1:{collector.server_port}").start()
    body = conversation(ran(rows("t")), manual(prose("t"), "b"))
    assert farm.post(body, "ada", traceparent=f"00-{TRACE}-{SPAN}-01").status == 200
    until("three spans", lambda: len(collector.spans) == 3)
    spans = dict(collector.spans)
    assert all(span.trace_id.hex() == TRACE for span in spans.values())
    request = spans["headroom-farm-api"]
    assert request.parent_span_id.hex() == SPAN
    for pool in ("cpu", "gpu"):
        assert spans[f"headroom-farm-worker-{pool}"].parent_span_id == request.span_id


def test_ignores_malformed_traceparent(farm: Farm) -> None:
    for bad in ("nonsense", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{SPAN}"):
        name = user()
        answer = farm.post(
            conversation(ran(rows(bad))), name, traceparent=bad, x_request_id=f"of-{name}"
        )
        assert answer.status == 200
        (line,) = [line for line in farm.logs().splitlines() if f"of-{name}" in line]
        assert '"trace_id": null' in line


def test_unreachable_collector_fails_no_request(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm(otel_endpoint="http://127.0.0.1:9").start(gpu=0)
    answer = farm.post(conversation(ran(rows("x"))), "ada").json
    assert answer["tokens_saved"] > 0
    assert answer["degraded"] == []
