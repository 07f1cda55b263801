"""A Python client's day with `arom serve`: health, unary, batch, streams, reflection, error details, metrics, SIGTERM.

    python tests/python/scenario.py target/release/arom
"""

import signal
import socket
import subprocess
import sys
import urllib.request

import grpc
from arom.v1 import sentiment_pb2 as pb
from arom.v1 import sentiment_service_pb2 as service_pb
from arom.v1 import sentiment_service_pb2_grpc as stubs
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from prometheus_client.openmetrics.parser import text_string_to_metric_families

OPINIONS = ["ดีมาก", "แย่มาก", "เฉย ๆ", "ของแท้ไหมคะ"]
STREAMED = 10_000
SERVICE = "arom.v1.SentimentService"
Health = health_pb2.HealthCheckResponse


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def health_before_and_after(channel) -> None:
    """The watch is open before the server is, so it sees the first status there is."""
    watch = health_pb2_grpc.HealthStub(channel).Watch(
        health_pb2.HealthCheckRequest(service=SERVICE), wait_for_ready=True, timeout=60)
    seen = [next(watch).status]
    while seen[-1] != Health.SERVING:
        seen.append(next(watch).status)
    assert seen == [Health.NOT_SERVING, Health.SERVING], seen
    watch.cancel()


def unary(client) -> None:
    answer = client.AnalyzeSentiment(pb.AnalyzeSentimentRequest(
        text="ชอบมากกกก ส่งไวสุด ๆ 😍", message_id="py-1", channel=pb.CHANNEL_REVIEW), timeout=30)
    assert answer.message_id == "py-1" and answer.content == pb.TEXT_CONTENT_LINGUISTIC
    assert answer.sentiment.label == pb.SENTIMENT_LABEL_POSITIVE, answer
    p = answer.sentiment.probabilities
    assert abs(p.positive + p.neutral + p.negative + p.question - 1) < 1e-5
    assert "@" in answer.model_fingerprint and answer.timings.infer_duration.ToNanoseconds() > 0


def batch_with_one_bad(client) -> None:
    requests = [pb.AnalyzeSentimentRequest(text=text) for text in ("ดีมาก", "ก" * 30_000, "แย่มาก")]
    results = client.BatchAnalyzeSentiment(service_pb.BatchAnalyzeSentimentRequest(requests=requests), timeout=30).results
    assert [result.index for result in results] == [0, 1, 2]
    assert [result.WhichOneof("outcome") for result in results] == ["response", "error", "response"]
    violations = error_details_pb2.BadRequest()
    assert any(detail.Unpack(violations) for detail in results[1].error.details)
    assert violations.field_violations[0].field == "text"


def stream_of_ten_thousand(client) -> None:
    """Every text is answered once, and equal texts are answered alike, whether scored or remembered."""
    texts = [f"{opinion} ครั้งที่ {number}" for number in range(25) for opinion in OPINIONS]
    sent = lambda: (service_pb.StreamAnalyzeSentimentRequest(request=pb.AnalyzeSentimentRequest(
        text=texts[number % len(texts)], message_id=f"s-{number}")) for number in range(STREAMED))
    scores, seen, hits = {}, set(), 0
    for answer in client.StreamAnalyzeSentiment(sent(), timeout=120):
        assert answer.WhichOneof("outcome") == "response", answer
        assert answer.message_id == answer.response.message_id == f"s-{answer.index}"
        assert answer.index not in seen
        seen.add(answer.index)
        hits += answer.response.cache_hit
        text = texts[answer.index % len(texts)]
        assert scores.setdefault(text, answer.response.sentiment) == answer.response.sentiment
    assert len(seen) == STREAMED and len(scores) == len(texts)
    assert hits == STREAMED - len(texts), hits


def metrics_that_prometheus_reads(address: str) -> None:
    request = urllib.request.Request(f"http://{address}/metrics", headers={"Accept": "application/openmetrics-text"})
    with urllib.request.urlopen(request, timeout=10) as page:
        assert page.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        families = {family.name: family for family in text_string_to_metric_families(page.read().decode())}
    value = lambda family, name, **labels: sum(
        sample.value for sample in families[family].samples
        if sample.name == name and labels.items() <= sample.labels.items())
    streamed = dict(method="StreamAnalyzeSentiment", status="OK")
    assert value("arom_items", "arom_items_total", **streamed) == STREAMED
    assert value("arom_request_duration_seconds", "arom_request_duration_seconds_count", **streamed) == 1
    hits = value("arom_cache_lookups", "arom_cache_lookups_total", result="hit")
    misses = value("arom_cache_lookups", "arom_cache_lookups_total", result="miss")
    # How often a text is asked before its first answer is there depends on the machine; most are remembered.
    assert hits >= STREAMED - 25 * len(OPINIONS) and 25 * len(OPINIONS) <= misses < STREAMED / 2
    scored = value("arom_text_duration_seconds", "arom_text_duration_seconds_count", step="total")
    assert value("arom_labels", "arom_labels_total") == scored >= STREAMED
    # A text that waited long is asked twice, and the first answer counts.
    assert misses <= value("arom_batch_rows", "arom_batch_rows_sum") < STREAMED / 2
    assert value("arom_queue_tokens", "arom_queue_tokens") == 0
    assert value("arom_process_resident_memory_bytes", "arom_process_resident_memory_bytes") > 50e6
    for family in families.values():
        assert family.documentation, family.name


def reflection(channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert SERVICE in database.get_services()
    file = database.FindFileContainingSymbol(SERVICE)
    methods = {method.name for service in file.service for method in service.method}
    assert methods == {"AnalyzeSentiment", "BatchAnalyzeSentiment", "StreamAnalyzeSentiment"}, methods


def error_details(client) -> None:
    try:
        client.AnalyzeSentiment(pb.AnalyzeSentimentRequest(text="ดี", channel=99), timeout=30)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        trailer = dict(error.trailing_metadata())["grpc-status-details-bin"]
        status = status_pb2.Status.FromString(trailer)
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        assert any(detail.Unpack(info) for detail in status.details) and info.reason == "INVALID_REQUEST"
        assert any(detail.Unpack(bad) for detail in status.details)
        assert [violation.field for violation in bad.field_violations] == ["channel"]
    else:
        raise AssertionError("an unknown channel was taken")


def sigterm_loses_nothing(server, channel, client) -> None:
    texts = [f"รอบที่ {number} บริการดีเหมือนเดิม " * 8 for number in range(200)]
    batch = client.BatchAnalyzeSentiment.future(service_pb.BatchAnalyzeSentimentRequest(
        requests=[pb.AnalyzeSentimentRequest(text=text, message_id=str(at)) for at, text in enumerate(texts)]), timeout=60)
    # Calls on one connection arrive in order: these answers say that the batch has arrived before them.
    for _ in range(20):
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert not batch.done(), "the batch is too small to be interrupted"
    server.send_signal(signal.SIGTERM)
    results = batch.result().results
    assert [result.response.message_id for result in results] == [str(at) for at in range(len(texts))]
    assert server.wait(timeout=60) == 0, server.returncode


def main(arom: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    channel = grpc.insecure_channel(address, options=[
        ("grpc.initial_reconnect_backoff_ms", 10), ("grpc.min_reconnect_backoff_ms", 10),
        ("grpc.max_reconnect_backoff_ms", 10)])
    client = stubs.SentimentServiceStub(channel)
    http = f"127.0.0.1:{free_port()}"
    with subprocess.Popen([arom, "serve", "--listen", address, "--http-listen", http,
                           "--listen-when-ready", "false", "--shutdown-delay-seconds", "0"]) as server:
        try:
            for name, step in [
                ("health", lambda: health_before_and_after(channel)),
                ("unary", lambda: unary(client)),
                ("batch", lambda: batch_with_one_bad(client)),
                ("stream", lambda: stream_of_ten_thousand(client)),
                ("metrics", lambda: metrics_that_prometheus_reads(http)),
                ("reflection", lambda: reflection(channel)),
                ("details", lambda: error_details(client)),
                ("sigterm", lambda: sigterm_loses_nothing(server, channel, client)),
            ]:
                step()
                print(f"{name}: ok", flush=True)
        finally:
            server.kill()


if __name__ == "__main__":
    main(*sys.argv[1:])
