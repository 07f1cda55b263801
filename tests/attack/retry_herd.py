"""Many callers at once, refused, come back as they are told: how many are answered?

    python3 tests/attack/retry_herd.py [CALLS]

Prints how many of CALLS (2,000) calls at once are answered without a retry, with gRPC's retry policy of five attempts,
and how callers fare that ask again at once, beside callers that wait as they are told. Fails if less than three
quarters are answered with retries, or if it pays to ignore the delay.
"""

import asyncio
import collections
import random
import statistics
import sys
import time

import lib

import grpc
import grpc.aio
from arom.v1 import sentiment_pb2, sentiment_service_pb2_grpc

CALLS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000


def text() -> sentiment_pb2.AnalyzeSentimentRequest:
    return sentiment_pb2.AnalyzeSentimentRequest(text=f"อาหารอร่อยดี รอบที่ {random.getrandbits(40)}")


def stub(channel) -> sentiment_service_pb2_grpc.SentimentServiceStub:
    return sentiment_service_pb2_grpc.SentimentServiceStub(channel)


async def herd(address: str, name: str, options: list) -> int:
    """Sends all calls at once; gives how many were answered."""
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        service, ends = stub(channel), collections.Counter()

        async def call() -> None:
            try:
                await service.AnalyzeSentiment(text())
                ends["OK"] += 1
            except grpc.aio.AioRpcError as error:
                ends[error.code().name] += 1

        began = time.monotonic()
        await asyncio.gather(*(call() for _ in range(CALLS)))
        print(f"{name}: {ends['OK']} of {CALLS} answered in {time.monotonic() - began:.1f} s; {dict(ends)}", flush=True)
    return ends["OK"]


async def ask(service, waits: bool, answered: list) -> None:
    """Asks up to five times as told, or every 20 ms without a thought, until it is answered."""
    request, began, attempts = text(), time.monotonic(), 0
    while time.monotonic() - began < 60 and (attempts < 5 or not waits):
        attempts += 1
        try:
            await service.AnalyzeSentiment(request)
            answered.append(time.monotonic() - began)
            return
        except grpc.aio.AioRpcError as error:
            told = dict(error.trailing_metadata()).get("grpc-retry-pushback-ms", "0")
            await asyncio.sleep(int(told) / 1000 if waits else 0.02)


async def fairness(address: str) -> tuple[float, float]:
    """Seconds until an answer: of callers that wait as they are told, and of a tenth that does not."""
    options = [("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        patient, hasty, calls = [], [], []
        for number in range(CALLS // 2):
            waits = number % 10 != 0
            calls.append(ask(stub(channel), waits, patient if waits else hasty))
        await asyncio.gather(*calls)
    print(f"told to wait: {len(patient)} of {CALLS // 2 - CALLS // 20} that do are answered, after {statistics.mean(patient):.2f} s on average; "
          f"{len(hasty)} of {CALLS // 20} that ask every 20 ms, after {statistics.mean(hasty):.2f} s", flush=True)
    return statistics.mean(patient), statistics.mean(hasty)


def main() -> None:
    with lib.Server() as server:
        asyncio.run(herd(server.address, "no retry", [("grpc.enable_retries", 0)]))
        time.sleep(3)
        retried = asyncio.run(herd(server.address, "retry policy of 5 attempts", [("grpc.service_config", lib.service_config(5))]))
        time.sleep(3)
        patient, hasty = asyncio.run(fairness(server.address))
        told, sum_of = server.metric("arom_retry_delay_seconds_count"), server.metric("arom_retry_delay_seconds_sum")
        print(f"{told:.0f} refusals, told to come back after {sum_of / max(told, 1):.2f} s on average")
    if retried < CALLS * 3 / 4:
        sys.exit(f"only {retried} of {CALLS} calls were answered within five attempts")
    if hasty < patient * 0.75:
        sys.exit(f"who does not wait is answered after {hasty:.2f} s, who does after {patient:.2f} s")


if __name__ == "__main__":
    main()
