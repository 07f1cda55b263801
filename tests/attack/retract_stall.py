"""One small call that takes back the last events of thousands of pairs of a customer and a brand, behind newer events of that customer.

Each pair then needs the event before. Nobody else who records may wait for that: not for retractions, and not for corrections.
`python3 tests/attack/retract_stall.py [NEWER EVENTS]`
"""

import sys
import tempfile
import threading
import time

import lib

import grpc
from arom.v1 import profile_pb2 as pb
from arom.v1 import profile_service_pb2 as service
from arom.v1 import profile_service_pb2_grpc as stubs
from google.protobuf.timestamp_pb2 import Timestamp

NEWER = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
EVENTS, BRANDS, ALLOWED_S = 256, 16, 2.0
NOW = time.time()
faults = []


def event(name: str, customer: str, at: float, brands: list[str], replaces: str = "") -> pb.ProfileEvent:
    stamp = Timestamp()
    stamp.FromMilliseconds(int(at * 1000))
    return pb.ProfileEvent(event_id=name, event_time=stamp, customer_id=customer, brand_ids=brands, channel=1,
                           scored=pb.ScoredText(label=1, score=0.5), replaces_event_id=replaces)


def record(client, events: list[pb.ProfileEvent]) -> None:
    answer = client.RecordEvents(service.RecordEventsRequest(events=events), timeout=120)
    refused = [result.error.message for result in answer.results if result.WhichOneof("outcome") != "status"]
    if refused:
        sys.exit(f"not recorded: {refused[0]}")


def prepare(client, customer: str) -> None:
    for turn in (0, 1):
        record(client, [event(f"{customer}{turn}-{number}", customer, NOW - 7200 + turn * 60,
                              [f"{customer}{number}-{brand}" for brand in range(BRANDS)]) for number in range(EVENTS)])
    for first in range(0, NEWER, EVENTS):
        record(client, [event(f"{customer}n{number}", customer, NOW - 3600 + number * 0.01, ["newer"])
                        for number in range(first, min(first + EVENTS, NEWER))])


def attack(server: lib.Server, name: str, call) -> None:
    """Measures how long another recorder waits while the call goes on."""
    waits, done = [], threading.Event()

    def others() -> None:
        with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            client, number = stubs.ProfileServiceStub(channel), 0
            while not done.is_set():
                number, begun = number + 1, time.monotonic()
                record(client, [event(f"{name}-other{number}", "other", NOW, ["other"])])
                waits.append(time.monotonic() - begun)
                time.sleep(0.02)

    thread = threading.Thread(target=others)
    thread.start()
    time.sleep(1)
    before, cpu, begun = max(waits), server.cpu_seconds(), time.monotonic()
    waits.clear()
    call()
    took, cpu = time.monotonic() - begun, server.cpu_seconds() - cpu
    time.sleep(0.2)
    done.set()
    thread.join()
    print(f"{name}: one call took {took:.2f} s and {cpu:.2f} s of CPU; another recorder waited at most {max(waits):.2f} s, "
          f"{before:.2f} s before")
    if max(waits) > ALLOWED_S:
        faults.append(f"{name}: another recorder waited {max(waits):.1f} s")


with lib.Server("--model", "arom-fast", "--profile-store", tempfile.mkdtemp() + "/store") as server:
    with grpc.insecure_channel(server.address) as channel:
        client = stubs.ProfileServiceStub(channel)
        for customer in ("r", "c"):
            prepare(client, customer)
        ids = [f"r1-{number}" for number in range(EVENTS)]
        attack(server, "retractions", lambda: client.RetractEvents(service.RetractEventsRequest(event_ids=ids), timeout=120))
        corrections = [event(f"k{number}", "c", NOW - 7300, [], f"c1-{number}") for number in range(EVENTS)]
        attack(server, "corrections", lambda: record(client, corrections))

for fault in faults:
    print("FAULT:", fault)
sys.exit(1 if faults else 0)
