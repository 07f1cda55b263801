"""More calls at once than the server takes, by a client whose only back-off is gRPC's own.

    PYTHONPATH=examples/python python tests/python/retries.py target/release/arom
"""

import json
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
from arom.v1 import sentiment_pb2 as pb
from arom.v1 import sentiment_service_pb2_grpc as stubs
from client import RETRY
from scenario import free_port


def refusals(http: str) -> list[str]:
    with urllib.request.urlopen(f"http://{http}/metrics", timeout=60) as page:
        return [line for line in page.read().decode().splitlines()
                if line.startswith("arom_request_duration_seconds_count") and 'status="RESOURCE_EXHAUSTED"' in line]


def main(arom: str) -> None:
    address, http = (f"127.0.0.1:{free_port()}" for _ in range(2))
    options = [("grpc.service_config", json.dumps(RETRY))]
    with subprocess.Popen([arom, "serve", "--listen", address, "--http-listen", http, "--max-calls", "4"]) as server:
        try:
            with grpc.insecure_channel(address, options=options) as channel, ThreadPoolExecutor(8) as callers:
                service = stubs.SentimentServiceStub(channel)
                score = lambda number: service.AnalyzeSentiment(
                    pb.AnalyzeSentimentRequest(text=f"รอบที่ {number} บริการดีมาก " * 20), timeout=300, wait_for_ready=True)
                score(0)
                # Twice as many as have room, once each: whoever comes again at once would starve those who were told to wait.
                # A fast server may have room for all of them one after the other: then as many come anew.
                refused, first = [], 1
                while not refused:
                    answers = list(callers.map(score, range(first, first + 8)))
                    assert all(answer.sentiment.score > 0 for answer in answers)
                    refused, first = refusals(http), first + 8
            print(f"all answered in spite of {refused}")
        finally:
            server.kill()


if __name__ == "__main__":
    main(*sys.argv[1:])
