"""Floods over twenty connections: frames that ask for nothing, and whole calls. Health answers a client at another address meanwhile.

The attackers are processes of their own, with less right to a CPU than the server: what is measured is the server, not the machine.
"""

import os
import struct
import subprocess
import sys
import time

from lib import HEADERS, PING, PRIORITY, RST_STREAM, WINDOW_UPDATE, Raw, Server, frame, headers, message, verdict

CONNECTIONS = 20
SECONDS = 4
CHECK = "/grpc.health.v1.Health/Check"


def calls(first: int) -> bytes:
    return b"".join(frame(HEADERS, 4, stream, headers(CHECK)) + frame(0, 1, stream, message(b""))
                    for stream in range(first, first + 200, 2))


FLOODS = {
    "windows": lambda first: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)) * 2_000,
    "windows of a stream that has ended": lambda first: frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)) * 2_000,
    "priorities": lambda first: frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 16)) * 2_000,
    "pings": lambda first: frame(PING, 0, 0, b"12345678") * 2_000,
    "answers to pings that nobody sent": lambda first: frame(PING, 1, 0, b"12345678") * 2_000,
    "resets of a stream that has ended": lambda first: frame(RST_STREAM, 0, 1, struct.pack(">I", 8)) * 2_000,
    "unknown frames": lambda first: frame(0xEE, 0, 0) * 2_000,
    "whole calls": calls,
}


def flood(name: str, address: str) -> None:
    """Sends without end on one connection, and opens another when that is closed."""
    os.nice(19)

    class Where:
        grpc = int(address.rpartition(":")[2])

    while True:
        raw, first = Raw(Where, source="127.0.0.2"), 1
        raw.send(calls(first))
        first += 200
        while not raw.closed and first < 2**30:
            raw.send(FLOODS[name](first), 1)
            raw.read(0.001)
            raw.frames.clear()
            first += 200


def run(server: Server, name: str) -> str | None:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    attackers = [subprocess.Popen([sys.executable, __file__, "--flood", name, server.address]) for _ in range(CONNECTIONS)]
    took = []
    try:
        time.sleep(2)
        with grpc.insecure_channel(server.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                begun = time.monotonic()
                stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
                took.append(time.monotonic() - begun)
                time.sleep(0.02)
    finally:
        for attacker in attackers:
            attacker.kill()
            attacker.wait()
    took.sort()
    late = sum(one > 0.1 for one in took)
    print(f"{name}: {len(took)} answers of health, median {took[len(took) // 2] * 1e3:.0f} ms, longest {took[-1] * 1e3:.0f} ms, "
          f"{late} over 100 ms; connections closed so far: {server.metric('arom_connections_closed_total'):.0f}", flush=True)
    return f"{name}: {late} of {len(took)} answers of health took over 100 ms" if 20 * late > len(took) else None


if __name__ == "__main__":
    if sys.argv[1:2] == ["--flood"]:
        flood(*sys.argv[2:])
    with Server() as SERVER:
        verdict(*[run(SERVER, name) for name in sys.argv[1:] or FLOODS])
