"""Health and an innocent caller beside the largest work that callers may ask for: streams of long conversations, idle streams, whole
conversations, full batches and messages of very many parts.

A prober asks for health over gRPC and HTTP 20 times a second, and scores a text of its own 5 times a second. The attack succeeds when
an answer about health takes more than 100 ms, or when the innocent text is refused or late.

The machine is shared with the generators of the load, so these run at the lowest priority (nice 19), and the server and the prober at a
high one (nice -10) where the system allows it. At each turn the prober also asks an echo server, a bare process of the server's priority.
A turn in which that echo took more than 25 ms is the machine's fault: it is not counted, and the script says how many there were.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from lib import HEADERS, NO_SETTINGS, PING, Raw, Server, frame, headers, verdict

import grpc
from arom.v1 import conversation_pb2 as chat
from arom.v1 import conversation_service_pb2 as chat_service
from arom.v1 import profile_service_pb2 as profiles
from arom.v1 import sentiment_pb2 as texts
from arom.v1 import sentiment_service_pb2 as text_service

SECONDS = float(os.environ.get("ATTACK_SECONDS", "8"))
MOST_MS = 100.0
ECHO_MS = 25.0
LATEST_S = 10.0
ANALYZE = "/arom.v1.SentimentService/AnalyzeSentiment"
BATCH = "/arom.v1.SentimentService/BatchAnalyzeSentiment"
STREAM = "/arom.v1.SentimentService/StreamAnalyzeSentiment"
WHOLE = "/arom.v1.ConversationService/AnalyzeConversation"
LIVE = "/arom.v1.ConversationService/StreamConversation"
RECORD = "/arom.v1.ProfileService/RecordEvents"

WORDS = ["ดีมากค่ะ", "แย่ที่สุด", "รอนานมาก", "ขอบคุณนะคะ", "ไม่ประทับใจ"]
LONG_TEXT = "ของดีแต่ส่งช้ามาก พนักงานพูดไม่เพราะ " * 600


def said(number: int, text: str = "") -> chat.ConversationMessage:
    return chat.ConversationMessage(message_id=str(number), role=1 + number % 2, text=text or WORDS[number % 5])


def live(number: int, text: str = "") -> bytes:
    return chat_service.StreamConversationRequest(message=said(number, text)).SerializeToString()


def everything() -> texts.AnalysisFeatures:
    return texts.AnalysisFeatures(clauses=True, targets=True, modifiers=True, intent=True)


def parts(tag: int, bytes_: int = 4_000_000) -> bytes:
    """A message of empty parts, two bytes each."""
    return bytes([tag << 3 | 2, 0]) * (bytes_ // 2)


# What the generators send. Each is made once and sent as it is.
REQUESTS = {
    "whole": lambda: chat_service.AnalyzeConversationRequest(
        messages=[said(n, "ของมาช้ามากค่ะ รอเป็นเดือน " * 9) for n in range(5000)]).SerializeToString(),
    "whole_names": lambda: chat_service.AnalyzeConversationRequest(
        messages=[chat.ConversationMessage(speaker=f"คนที่ {n}", text=WORDS[n % 5] * 20) for n in range(5000)],
    ).SerializeToString(),
    "export": lambda: chat_service.AnalyzeConversationRequest(export=chat.ConversationExport(
        content=json.dumps([{"sender": f"คน {n % 50}", "text": WORDS[n % 5] * 5} for n in range(5000)]).encode(),
    )).SerializeToString(),
    "batch": lambda: text_service.BatchAnalyzeSentimentRequest(requests=[
        texts.AnalyzeSentimentRequest(text=f"{n} {LONG_TEXT[:4000]}", offset_encoding=2, features=everything())
        for n in range(256)]).SerializeToString(),
    "long_texts": lambda: text_service.BatchAnalyzeSentimentRequest(requests=[
        texts.AnalyzeSentimentRequest(text=f"{n} {LONG_TEXT}"[:20_000], offset_encoding=2, features=everything())
        for n in range(64)]).SerializeToString(),
    "empty_texts": lambda: parts(1),
    "empty_messages": lambda: parts(1),
    "empty_events": lambda: parts(1),
    "one_text": lambda: texts.AnalyzeSentimentRequest(text=LONG_TEXT, offset_encoding=2,
                                                      features=everything()).SerializeToString(),
}
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1),
           ("grpc.max_send_message_length", -1)]


def calling(address: str, path: str, request: str, end: float, compression=None) -> int:
    done, data = 0, REQUESTS[request]()
    with grpc.insecure_channel(address, OPTIONS, compression=compression) as channel:
        call = channel.unary_unary(path)
        while time.monotonic() < end:
            try:
                call(data, timeout=max(end - time.monotonic(), 0.1))
            except grpc.RpcError:
                pass
            done += 1
    return done


def streaming(address: str, path: str, make, end: float) -> int:
    """Streams one after the other, as fast as the server reads."""
    done = 0

    def requests():
        number = 0
        while time.monotonic() < end:
            yield make(number)
            number += 1

    with grpc.insecure_channel(address, OPTIONS) as channel:
        call = channel.stream_stream(path)
        while time.monotonic() < end:
            try:
                for _ in call(requests(), timeout=max(end - time.monotonic(), 0.1)):
                    done += 1
            except grpc.RpcError:
                pass
    return done


def idling(address: str, end: float) -> int:
    """5,000 streams on 5 connections that say nothing."""
    port = int(address.rsplit(":", 1)[1])

    class At:
        grpc = port

    raws = []
    for path in (STREAM, LIVE, STREAM, LIVE, STREAM):
        raw = Raw(At)
        raw.send(b"".join(frame(HEADERS, 4, stream, headers(path)) for stream in range(1, 2001, 2)))
        raws.append(raw)
    while time.monotonic() < end:
        for raw in raws:
            raw.read(0.1)
            for kind, flags, _, payload in raw.frames:
                if kind == PING and not flags & 1:
                    raw.send(frame(PING, 1, 0, payload))
            raw.frames.clear()
    return 5 * 1000


def unary(path: str, request: str, compression=None):
    return lambda address, end: calling(address, path, request, end, compression)


def stream(path: str, make):
    return lambda address, end: streaming(address, path, make, end)


# What is attacked with, and by how many processes at once.
ATTACKS = {
    "2 streams of conversations": (2, stream(LIVE, live)),
    "8 streams of conversations": (8, stream(LIVE, live)),
    "8 streams of long messages": (8, stream(LIVE, lambda n: live(n, f"{n} {LONG_TEXT}"))),
    "5,000 idle streams on 5 connections": (1, idling),
    "8 callers with 5,000 messages each": (8, unary(WHOLE, "whole")),
    "8 callers with 5,000 names each": (8, unary(WHOLE, "whole_names")),
    "8 callers with an export of 5,000 messages": (8, unary(WHOLE, "export")),
    "8 callers with 256 texts of 4,000 characters": (8, unary(BATCH, "batch")),
    "8 callers with 64 texts of 20,000 characters": (8, unary(BATCH, "long_texts")),
    "8 callers with one long text": (8, unary(ANALYZE, "one_text")),
    "4 callers with 2,000,000 empty texts": (4, unary(BATCH, "empty_texts")),
    "4 callers with 2,000,000 empty texts, by gzip": (4, unary(BATCH, "empty_texts", grpc.Compression.Gzip)),
    "4 callers with 2,000,000 empty messages": (4, unary(WHOLE, "empty_messages", grpc.Compression.Gzip)),
    "4 callers with 2,000,000 empty events": (4, unary(RECORD, "empty_events", grpc.Compression.Gzip)),
    "4 streams of messages with 2,000,000 empty parts": (4, stream(LIVE, lambda _: parts(1))),
}


class Echo:
    """A process that sends back what it gets, at the server's priority."""

    def __init__(self):
        code = ("import socket\nlistener = socket.create_server(('127.0.0.1', 0))\n"
                "print(listener.getsockname()[1], flush=True)\npeer = listener.accept()[0]\n"
                "while data := peer.recv(64):\n    peer.sendall(data)\n")
        self.process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        self.socket = socket.create_connection(("127.0.0.1", int(self.process.stdout.readline())))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> None:
        self.socket.sendall(b"?")
        self.socket.recv(64)


class Prober:
    """Asks for health and for a score, in threads of its own."""

    def __init__(self, server: Server, echo: Echo):
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        self.channel = grpc.insecure_channel(server.address, OPTIONS)
        health = health_pb2_grpc.HealthStub(self.channel)
        self.score = self.channel.unary_unary(ANALYZE, response_deserializer=texts.AnalyzeSentimentResponse.FromString)
        self.asks = {
            "gRPC health": lambda: health.Check(health_pb2.HealthCheckRequest(), timeout=30),
            "/healthz": lambda: urllib.request.urlopen(f"{server.page}/healthz", timeout=30).read(),
            "/readyz": lambda: urllib.request.urlopen(f"{server.page}/readyz", timeout=30).read(),
        }
        self.echo, self.number = echo, 0

    def watch(self, seconds: float) -> dict:
        end = time.monotonic() + seconds
        self.seen, self.faults, self.uncounted = {name: [] for name in [*self.asks, "a text"]}, [], 0
        threads = [threading.Thread(target=self._health, args=(end,)), threading.Thread(target=self._texts, args=(end,))]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        return self.seen

    def _health(self, end: float) -> None:
        while time.monotonic() < end:
            begun = time.monotonic()
            self.echo.ask()
            echoed = (time.monotonic() - begun) * 1000
            took = {}
            for name, ask in self.asks.items():
                asked = time.monotonic()
                try:
                    ask()
                except (grpc.RpcError, OSError) as error:
                    self.faults.append(f"{name}: {error!r:.200}")
                took[name] = (time.monotonic() - asked) * 1000
            asked = time.monotonic()
            self.echo.ask()
            echoed = max(echoed, (time.monotonic() - asked) * 1000)
            if echoed > ECHO_MS:
                self.uncounted += 1
            else:
                for name, ms in took.items():
                    self.seen[name].append(ms)
            time.sleep(max(0, begun + 0.05 - time.monotonic()))

    def _texts(self, end: float) -> None:
        while time.monotonic() < end:
            self.number += 1
            begun = time.monotonic()
            try:
                self.score(texts.AnalyzeSentimentRequest(text=f"อร่อยมาก {self.number}").SerializeToString(), timeout=LATEST_S)
            except grpc.RpcError as error:
                self.faults.append(f"a text: {error.code().name} {error.details()[:200]}")
            self.seen["a text"].append((time.monotonic() - begun) * 1000)
            time.sleep(max(0, begun + 0.2 - time.monotonic()))

    def figures(self) -> str:
        def of(times: list) -> str:
            times = sorted(times) or [0.0]
            at = lambda share: times[min(int(len(times) * share), len(times) - 1)]
            return f"{at(0.5):.1f} / {at(0.99):.1f} / {times[-1]:.1f}"

        return "; ".join(f"{name} {of(times)}" for name, times in self.seen.items())


def generate(name: str, address: str) -> None:
    """One process of a load."""
    os.nice(39)
    print("begun", flush=True)
    print(ATTACKS[name][1](address, time.monotonic() + SECONDS + 1), flush=True)


def attack(name: str, server: Server, prober: Prober) -> str | None:
    processes = [subprocess.Popen([sys.executable, __file__, name, server.address], stdout=subprocess.PIPE, text=True)
                 for _ in range(ATTACKS[name][0])]
    for process in processes:
        process.stdout.readline()
    prober.watch(SECONDS)
    memory = server.memory_mib()
    done = sum(int(process.communicate()[0] or 0) for process in processes)
    uncounted = f"; {prober.uncounted} turns not counted" if prober.uncounted else ""
    print(f"{name}: {done} done, {memory:.0f} MiB\n  p50 / p99 / max in ms: {prober.figures()}{uncounted}", flush=True)
    if prober.faults:
        return f"{name}: {len(prober.faults)} faults, first {prober.faults[0]}"
    worst = {ask: max(prober.seen[ask], default=0) for ask in prober.asks}
    if max(worst.values()) > MOST_MS:
        return f"{name}: health took {max(worst.values()):.0f} ms"
    counted = len(prober.seen["gRPC health"])
    return f"{name}: only {counted} turns could be counted; is the machine busy?" if counted < SECONDS else None


def main(wanted: list) -> None:
    try:
        # The server and the echo inherit it.
        os.nice(-10)
    except PermissionError:
        print("the server runs at the usual priority, because the system gives it no better")
    echo = Echo()
    with tempfile.TemporaryDirectory() as store, Server("--profile-store", store) as server:
        prober = Prober(server, echo)
        prober.watch(2)
        print(f"without load\n  p50 / p99 / max in ms: {prober.figures()}", flush=True)
        faults = [attack(name, server, prober) for name in wanted]
    echo.process.kill()
    verdict(*faults)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in ATTACKS:
        generate(sys.argv[1], sys.argv[2])
    else:
        main([name for name in ATTACKS if len(sys.argv) < 2 or sys.argv[1] in name])
