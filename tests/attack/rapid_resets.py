"""Calls that are cancelled: by clients whose deadlines are short, which must hurt nobody, and as an attack, which must be cut.

The attack is CVE-2023-44487: a call and its reset, as fast as the network goes, in one burst and over time.
"""

import os
import struct
import subprocess
import sys
import time

from lib import HEADERS, ROOT, RST_STREAM, Innocent, Raw, Server, frame, headers, verdict

OPEN = headers("/arom.v1.SentimentService/AnalyzeSentiment")


def resets(first: int, count: int) -> bytes:
    return b"".join(
        frame(HEADERS, 4, 2 * call + 1, OPEN) + frame(RST_STREAM, 0, 2 * call + 1, struct.pack(">I", 8))
        for call in range(first, first + count))


def attack(server: Server, name: str, a_second: int | None, most: int) -> str | None:
    """How many resets one connection may send before it is cut."""
    raw, sent, begun = Raw(server), 0, time.monotonic()
    step = 100
    while not raw.closed and sent < 4 * most:
        raw.send(resets(sent, step))
        sent += step
        raw.read(0.0005)
        if a_second:
            time.sleep(max(0, begun + sent / a_second - time.monotonic()))
    # What is on its way.
    raw.read(3)
    took = time.monotonic() - begun
    print(f"{name}: cut after {sent} resets in {took:.1f} s, GOAWAY {raw.goaway()}" if raw.closed
          else f"{name}: not cut after {sent} resets in {took:.1f} s")
    raw.close()
    if not raw.closed:
        return f"{name}: not cut"
    return f"{name}: only cut after {sent}" if sent > most else None


def many_connections(server: Server) -> list:
    """The attack from 20 connections at once that come back when they are cut."""
    innocent = Innocent(server)
    raws, sent, cut, begun = [Raw(server) for _ in range(20)], 0, 0, time.monotonic()
    cpu = server.cpu_seconds()
    while time.monotonic() - begun < 5:
        for at, raw in enumerate(raws):
            raw.first = getattr(raw, "first", 0)
            raw.send(resets(raw.first, 100), 1)
            raw.first, sent = raw.first + 100, sent + 100
            raw.read(0.0001)
            if raw.closed:
                raws[at], cut = Raw(server), cut + 1
    cpu = (server.cpu_seconds() - cpu) / 5
    said = innocent.stop()
    print(f"20 connections: {sent} resets in 5 s, cut {cut} times, {cpu:.1f} CPUs, {said}")
    return [
        cut == 0 and "20 connections: none was cut",
        innocent.failures and f"20 connections: {innocent.failures[:3]}",
        innocent.answered < 20 and f"20 connections: {innocent.answered} answers to the innocent client",
    ]


def main() -> None:
    faults = []
    with Server() as server:
        beside = subprocess.run([sys.executable, "tests/python/connections.py", "cancelled", server.address], cwd=ROOT,
                                capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[:2])})
        print(beside.stdout.strip() or beside.stderr.strip())
        faults.append(beside.returncode != 0 and "cancelled calls hurt the stream beside them")
        faults.append(attack(server, "as fast as it goes", None, 20_000))
        faults.append(attack(server, "2,500 a second", 2_500, 20_000))
        faults.extend(many_connections(server))
        before = server.memory_mib()
        for _ in range(20):
            raw = Raw(server)
            raw.send(resets(0, 5_000))
            raw.read(0.2)
            raw.close()
        grown = server.memory_mib() - before
        print(f"20 bursts of 5,000: memory grew by {grown:.0f} MiB")
        faults.append(grown > 100 and f"memory grew by {grown:.0f} MiB")
    verdict(*faults)


main()
