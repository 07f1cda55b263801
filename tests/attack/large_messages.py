"""Large messages: some that never end, and small ones that inflate.

Each holds memory before anybody counts its call. While they are sent, an innocent client must be answered, and memory must stay
within the budget of bytes (server.max_peer_request_bytes, 64 MiB).
"""

import gzip
import struct
import sys
import time

from lib import (DATA, HEADERS, PING, SETTINGS, WINDOW_UPDATE, Innocent, Raw, Server, frame, headers, message, verdict)

GROWTH_MIB = 250
UNARY = "/arom.v1.SentimentService/AnalyzeSentiment"
STREAM = "/arom.v1.SentimentService/StreamAnalyzeSentiment"
CONVERSATION = "/arom.v1.ConversationService/AnalyzeConversation"
LARGE = 4 * 1024 * 1024 - 2_000


class Sender(Raw):
    """Sends messages no faster than the windows of HTTP/2 let it."""

    def __init__(self, server: Server):
        self.connection, self.initial, self.windows, self.seen = 65_535, 65_535, {}, 0
        super().__init__(server)

    def pump(self, seconds: float) -> None:
        self.read(seconds)
        for kind, flags, stream, payload in self.frames:
            if kind == WINDOW_UPDATE:
                more, stream = int.from_bytes(payload, "big"), stream & 0x7FFFFFFF
                if stream == 0:
                    self.connection += more
                elif stream in self.windows:
                    self.windows[stream] += more
            elif kind == SETTINGS and not flags & 1:
                for at in range(0, len(payload), 6):
                    key, value = struct.unpack(">HI", payload[at:at + 6])
                    if key == 4:
                        self.windows = {of: left + value - self.initial for of, left in self.windows.items()}
                        self.initial = value
                self.send(frame(SETTINGS, 1, 0))
            elif kind == PING and not flags & 1:
                self.send(frame(PING, 1, 0, payload))
            elif kind == HEADERS and flags & 1:
                self.windows.pop(stream, None)
        self.frames.clear()

    def open(self, stream: int, path: str, *more: tuple[str, str]) -> None:
        self.windows[stream] = self.initial
        self.send(frame(HEADERS, 4, stream, headers(path, "application/grpc", *more)))

    def deal(self, left: dict[int, bytearray], ended: bool, seconds: float) -> None:
        """Sends a piece on each stream in turn, until all is sent or refused."""
        end = time.monotonic() + seconds
        while any(left.values()) and not self.closed and time.monotonic() < end:
            moved = False
            for stream, data in left.items():
                room = min(16_384, len(data), self.windows.get(stream, 0), self.connection)
                if stream not in self.windows:
                    data.clear()
                elif room > 0:
                    last = ended and room == len(data)
                    self.send(frame(DATA, 1 if last else 0, stream, bytes(data[:room])))
                    del data[:room]
                    self.windows[stream] -= room
                    self.connection -= room
                    moved = True
            self.pump(0.001 if moved else 0.2)


def nearly_whole(path: str):
    """One connection, 150 messages of nearly 4 MiB that lack their last bytes."""

    def attack(server: Server) -> float:
        raw, peak = Sender(server), 0.0
        raw.pump(0.2)
        left = {}
        for stream in range(1, 301, 2):
            raw.open(stream, path)
            left[stream] = bytearray(b"\0" + struct.pack(">I", LARGE + 1_000) + b"x" * LARGE)
        end = time.monotonic() + 20
        while any(left.values()) and time.monotonic() < end and not raw.closed:
            raw.deal(left, False, 1)
            peak = max(peak, server.memory_mib())
        raw.close()
        return peak

    return attack


def field(number: int, data: bytes) -> bytes:
    out, length = bytes([number << 3 | 2]), len(data)
    while length > 127:
        out, length = out + bytes([length & 127 | 128]), length >> 7
    return out + bytes([length]) + data


def packed(path: str, content: bytes, calls: int, ended: bool):
    """Calls on several connections, each with one compressed message; some never say that it was the last."""
    body = b"\1" + message(gzip.compress(content, 9))[1:]

    def attack(server: Server) -> float:
        raws, peak = [], 0.0
        for number in range(calls):
            if number % 1_000 == 0:
                raws.append(Sender(server))
                raws[-1].pump(0.2)
            stream = 2 * (number % 1_000) + 1
            raws[-1].open(stream, path, ("grpc-encoding", "gzip"))
            raws[-1].deal({stream: bytearray(body)}, ended, 1)
            if number % 20 == 0:
                peak = max(peak, server.memory_mib())
        for _ in range(20):
            for raw in raws:
                raw.pump(0.1 / len(raws))
            peak = max(peak, server.memory_mib())
        for raw in raws:
            raw.close()
        return peak

    return attack


# 2.8 MB of messages, and a text of nearly 4 MiB.
CHAT = field(1, b"\x10\x01" + field(5, ("ดี " * 270).encode())) * 1_500
TEXT = field(1, b"x" * LARGE)


ATTACKS = {
    "unary messages that are nearly whole": nearly_whole(UNARY),
    "messages of streams that are nearly whole": nearly_whole(STREAM),
    "small messages that inflate": packed(CONVERSATION, CHAT, 1_000, True),
    "small messages that inflate and never end": packed(UNARY, TEXT, 2_000, False),
    "messages of streams that inflate": packed(STREAM, field(1, TEXT), 2_000, False),
}


def run(name: str) -> tuple:
    with Server() as server:
        before, innocent = server.memory_mib(), Innocent(server)
        peak = ATTACKS[name](server)
        said, refused = innocent.stop(), server.metric("arom_calls_refused_total")
        print(f"{name}: {said}; memory {before:.0f} to {peak:.0f} MiB, {refused:.0f} refused", flush=True)
        return (
            server.process.poll() is not None and f"{name}: the server ended",
            # It has the attacker's address, and may be told to come back.
            not innocent.answered and f"{name}: the innocent client was not answered",
            peak - before > GROWTH_MIB and f"{name}: memory grew by {peak - before:.0f} MiB",
        )


if __name__ == "__main__":
    verdict(*[fault for name in sys.argv[1:] or list(ATTACKS) for fault in run(name)])
