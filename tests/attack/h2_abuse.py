"""Abuse of HTTP/2: floods of frames that cost the sender nothing, streams that never move, headers that grow.

While each goes on, an innocent client on a connection of its own must be answered, and memory must stay flat.
"""

import struct
import sys
import threading
import time

from lib import (CONTINUATION, DATA, GOAWAY, HEADERS, NO_SETTINGS, PING, PREFACE, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS,
                 WINDOW_UPDATE, Innocent, Raw, Server, field, frame, headers, message, verdict)

STREAM = "/arom.v1.SentimentService/StreamAnalyzeSentiment"
UNARY = "/arom.v1.SentimentService/AnalyzeSentiment"
BATCH = "/arom.v1.SentimentService/BatchAnalyzeSentiment"
SECONDS = 3
HOLDERS = 8

OPEN = headers(UNARY)
TEXT = message(b"\x0a\x0f" + "ของดี".encode())
# A window of nothing for every stream: no answer may be sent.
NO_WINDOW = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))


def ids():
    number = 1
    while True:
        yield number
        number += 2


def flood(make) -> callable:
    """Sends what `make` makes for a stream id, again and again."""

    def attack(server: Server, stopped: threading.Event) -> None:
        raw, streams = Raw(server), ids()
        while not stopped.is_set():
            if raw.closed:
                raw = Raw(server)
                streams = ids()
            raw.send(b"".join(make(next(streams)) for _ in range(500)), 1)
            if raw.closed:
                continue
            raw.read(0.001)

    return attack


def flood_all(*frames: bytes) -> callable:
    """Opens as many streams as are allowed, and sends frames for which a server goes through all of them."""

    def attack(server: Server, stopped: threading.Event) -> None:
        while not stopped.is_set():
            raw = Raw(server)
            raw.send(b"".join(frame(HEADERS, 4, stream, headers(STREAM)) for stream in range(1, 2_000, 2)))
            while not stopped.is_set() and not raw.closed:
                raw.send(b"".join(frames) * 200, 1)
                raw.read(0.001)
                raw.frames.clear()

    return attack


def hold(make, streams: int, settings: bytes = NO_SETTINGS, preface: bytes = PREFACE) -> callable:
    """Opens streams, or what stands for them, and leaves them as they are."""

    def attack(server: Server, stopped: threading.Event) -> None:
        held = []
        for _ in range(HOLDERS):
            raw = Raw(server, settings, preface)
            raw.send(b"".join(make(stream) for stream in list(range(1, 2 * streams, 2))))
            held.append(raw)
        stopped.wait()

    return attack


def never_read(server: Server, stopped: threading.Event) -> None:
    """Asks and never reads an answer."""
    raw, streams = Raw(server), ids()
    while not stopped.is_set() and raw.send(
            b"".join(frame(HEADERS, 4, stream, OPEN) + frame(DATA, 1, stream, TEXT)
                     for stream in (next(streams) for _ in range(100))), 0.5):
        pass
    stopped.wait()


def drip(server: Server, stopped: threading.Event) -> None:
    """Sends headers byte by byte, on many connections."""
    raws = [Raw(server) for _ in range(50)]
    block = frame(HEADERS, 4, 1, OPEN)
    at = 0
    while not stopped.wait(0.05):
        for raw in raws:
            raw.send(block[at:at + 1])
        at += 1


BOMB = field("x", "y" * 4_000)
ATTACKS = {
    "pings": flood(lambda _: frame(PING, 0, 0, b"12345678")),
    "settings": flood(lambda _: frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 100))),
    "priorities": flood(lambda stream: frame(PRIORITY, 0, stream, struct.pack(">IB", 0, 16))),
    "window updates": flood(lambda _: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1))),
    "resets of idle streams": flood(lambda stream: frame(RST_STREAM, 0, stream, struct.pack(">I", 8))),
    "rapid resets": flood(lambda stream: frame(HEADERS, 4, stream, OPEN) + frame(RST_STREAM, 0, stream, struct.pack(">I", 8))),
    "streams that end at once": flood(lambda stream: frame(HEADERS, 5, stream, OPEN)),
    "streams with one bad message": flood(lambda stream: frame(HEADERS, 4, stream, OPEN) + frame(DATA, 1, stream, b"\xff" * 20)),
    "unknown methods": flood(lambda stream: frame(HEADERS, 5, stream, headers("/" + "x" * 500))),
    "forms": flood(lambda stream: frame(HEADERS, 5, stream, headers(UNARY, "text/plain"))),
    "empty data": flood(lambda stream: frame(HEADERS, 4, stream, OPEN) + frame(DATA, 0, stream) * 20),
    "unknown frames": flood(lambda _: frame(0xEE, 0, 0, b"x" * 1_000)),
    "push promises": flood(lambda stream: frame(PUSH_PROMISE, 4, stream, b"\0\0\0\2" + OPEN)),
    "continuations": flood(lambda stream: frame(HEADERS, 0, stream, OPEN) + frame(CONTINUATION, 0, stream, BOMB) * 50),
    "empty continuations": flood(lambda stream: frame(HEADERS, 0, stream, OPEN) + frame(CONTINUATION, 0, stream) * 500),
    "large headers": flood(lambda stream: frame(HEADERS, 0, stream, OPEN + BOMB * 3) + frame(CONTINUATION, 4, stream, BOMB * 3)),
    # One entry of the table, named thousands of times: 1 byte sent is 4,000 bytes read.
    "references into the header table": flood(
        lambda stream: frame(HEADERS, 5, stream, OPEN + b"\x40" + field("x", "y" * 3_900)[1:] + b"\xbe" * 2_000)),
    "windows of all streams": flood_all(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1)), frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535))),
    "GOAWAY beside all streams": flood_all(frame(GOAWAY, 0, 0, struct.pack(">II", 0x7FFF_FFFF, 0))),
    "a window of nothing": hold(
        lambda stream: frame(HEADERS, 4, stream, OPEN) + frame(DATA, 1, stream, TEXT), 1_000, NO_WINDOW),
    "streams without a message": hold(lambda stream: frame(HEADERS, 4, stream, OPEN), 1_000),
    "streams with half a message": hold(
        lambda stream: frame(HEADERS, 4, stream, OPEN) + frame(DATA, 0, stream, message(b"x" * 5_000)[:2_000]), 1_000),
    "more streams than allowed": hold(lambda stream: frame(HEADERS, 4, stream, OPEN), 3_000),
    "half a preface": hold(lambda _: b"", 0, b"", PREFACE[:10]),
    "answers that are never read": never_read,
    "headers byte by byte": drip,
}


def run(name: str) -> tuple:
    attack = ATTACKS[name]
    before = SERVER.memory_mib()
    innocent, stopped = Innocent(SERVER), threading.Event()
    attackers = [threading.Thread(target=attack, args=(SERVER, stopped), daemon=True) for _ in range(2)]
    cpu = SERVER.cpu_seconds()
    for attacker in attackers:
        attacker.start()
    time.sleep(SECONDS)
    cpu = (SERVER.cpu_seconds() - cpu) / SECONDS
    peak = SERVER.memory_mib()
    said = innocent.stop()
    stopped.set()
    for attacker in attackers:
        attacker.join(20)
    print(f"{name}: {said}, {cpu:.1f} CPUs, memory {before:.0f} to {peak:.0f} MiB", flush=True)
    return (
        SERVER.process.poll() is not None and f"{name}: the server ended",
        innocent.failures and f"{name}: {innocent.failures[:3]}",
        innocent.answered < 10 and f"{name}: only {innocent.answered} answers to the innocent client",
        peak - before > 200 and f"{name}: memory grew by {peak - before:.0f} MiB",
    )


if __name__ == "__main__":
    wanted = sys.argv[1:] or list(ATTACKS)
    with Server() as SERVER:
        faults = [fault for name in wanted for fault in run(name)]
    verdict(*faults)
