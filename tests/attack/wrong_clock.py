"""A server whose clock is wrong: 400 days ahead for some seconds, ahead by a step while it runs, set back, and stopped for 60 days.

Needs libfaketime (Debian: faketime). Nothing that was acknowledged may be lost, no replay may count twice, of an erased customer nothing
may come back, and once the clock is right all must be as if it had never been wrong.
"""

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from glob import glob

import lib

import grpc
from arom.v1 import profile_pb2 as pb
from arom.v1 import profile_service_pb2 as service
from arom.v1 import profile_service_pb2_grpc as stubs
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc

FAKETIME = next(iter(glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)
if not FAKETIME:
    sys.exit("libfaketime is not installed; install the package faketime")
DAY = 86_400
FOLDER = tempfile.mkdtemp()
SHIFT = os.path.join(FOLDER, "shift")
faults = []


def shift(days: float) -> None:
    with open(SHIFT + ".new", "w") as file:
        file.write(f"{days * DAY:+.0f}\n")
    os.replace(SHIFT + ".new", SHIFT)


class Shifted(lib.Server):
    """A server whose clock is shifted, and may be shifted again."""

    def __init__(self, store: str, days: float = 0):
        shift(days)
        fake = {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": SHIFT, "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
        os.environ.update(fake)
        try:
            super().__init__("--model", "arom-fast", "--profile-store", os.path.join(FOLDER, store))
        finally:
            for name in fake:
                del os.environ[name]
        self.channel = grpc.insecure_channel(self.address, [("grpc.use_local_subchannel_pool", 1)])
        self.client = stubs.ProfileServiceStub(self.channel)

    def __exit__(self, *_):
        self.channel.close()
        self.terminate()
        self.process.wait()

    def record(self, event_id: str, customer: str, at: float) -> str:
        when = Timestamp()
        when.FromNanoseconds(int(at * 1e9))
        event = pb.ProfileEvent(event_id=event_id, event_time=when, customer_id=customer, brand_ids=["b"], channel=1,
                                scored=pb.ScoredText(label=3, score=-0.5))
        result = self.client.RecordEvents(service.RecordEventsRequest(events=[event]), timeout=20).results[0]
        return str(result.status) if result.WhichOneof("outcome") == "status" else result.error.message

    def total(self, window: int, **key: str) -> int:
        try:
            found = self.client.GetProfile(service.GetProfileRequest(key=pb.ProfileKey(**key)), timeout=20).profile
        except grpc.RpcError as error:
            return 0 if error.code() == grpc.StatusCode.NOT_FOUND else -1
        return next(one.counts.total for one in found.windows if one.window == window)

    def clock(self) -> service.ProfileClock:
        return self.client.GetProfileClock(service.GetProfileClockRequest(), timeout=20).clock

    def until_trusted(self, wanted: bool) -> bool:
        end = time.monotonic() + 10
        while self.clock().trusted != wanted and time.monotonic() < end:
            time.sleep(0.1)
        return self.clock().trusted == wanted


def expect(what: str, found, wanted) -> None:
    print(f"{what}: {found}")
    if found != wanted:
        faults.append(f"{what} is {found}, not {wanted}")


RECORDED, DUPLICATE = "1", "2"  # of arom.v1.RecordStatus
HOUR_WINDOW, DAY_WINDOW, LIFETIME = 1, 2, 6
now = time.time()

# The clock is 400 days ahead for some seconds: the sweep, which comes a second after the start, must not run by it.
with Shifted("ahead") as server:
    for number in range(5):
        expect(f"record a{number}", server.record(f"a{number}", "c1", now - 100), RECORDED)
    server.record("x", "erased", now - 100)
    server.client.EraseSubject(service.EraseSubjectRequest(customer_id="erased"))
with Shifted("ahead", 400) as server:
    time.sleep(4)
    clock = server.clock()
    print(f"400 days ahead: trusted {clock.trusted}, {clock.distrust_reason}")
    expect("events while it is ahead", server.total(LIFETIME, customer_id="c1"), 5)
    expect("an event of that time is not taken", server.record("far", "c2", time.time() + 400 * DAY) in (RECORDED, DUPLICATE), False)
    expect("an event of the true time is taken", server.record("true", "c3", time.time()), RECORDED)
    with urllib.request.urlopen(f"{server.page}/readyz") as page:
        expect("/readyz says so", "distrusted" in page.read().decode() and page.status, 200)
    expect("the metric says so", server.metric("arom_profile_clock_trusted"), 0)
    health = health_pb2_grpc.HealthStub(server.channel)
    expect("health of the clock", health.Check(health_pb2.HealthCheckRequest(service="arom.profile.clock")).status, 2)
    expect("log lines of it", "".join(server.log).count("distrusts the clock"), 1)
with Shifted("ahead") as server:
    expect("trusted when it is right", server.until_trusted(True), True)
    replays = [server.record(f"a{number}", "c1", now - 100) for number in range(5)]
    expect("replays after it", replays, [DUPLICATE] * 5)
    expect("events after it", server.total(LIFETIME, customer_id="c1"), 5)
    expect("an erased customer's replay is not taken", server.record("x", "erased", now - 100) in (RECORDED, DUPLICATE), False)

# A step while it runs, and back.
for days in (2.2, 91, -91):
    with Shifted(f"step{days}") as server:
        server.record("a", "c", now - 30 * 3600)
        server.record("b", "c", now - 3 * 3600)
        before = [server.total(window, brand_id="b") for window in (HOUR_WINDOW, DAY_WINDOW, LIFETIME)]
        shift(days)
        expect(f"a step of {days} days is distrusted", server.until_trusted(False), True)
        server.record("far", "d", time.time() + days * DAY)
        expect("an event of the true time", server.record("c", "d", time.time() - 7200), RECORDED)
        shift(0)
        expect("trusted again", server.until_trusted(True), True)
        expect("a later event", server.record("e", "e", time.time() - 7200), RECORDED)
        after = [server.total(window, brand_id="b") for window in (HOUR_WINDOW, DAY_WINDOW, LIFETIME)]
        expect("windows", [late - early for early, late in zip(before, after)], [0, 2, 2])

# Set back by some minutes over a restart: nothing counts below 0.
with Shifted("back") as server:
    server.record("a", "c", now - 63 * 60)
    server.record("k", "c", now - 80 * 60)
with Shifted("back", -5 / 1440) as server:
    server.client.RetractEvents(service.RetractEventsRequest(event_ids=["a"]))
    expect("windows", [server.total(window, brand_id="b") for window in (HOUR_WINDOW, DAY_WINDOW, LIFETIME)], [0, 1, 1])
with Shifted("back", -30) as server:
    expect("a month back is distrusted", server.clock().trusted, False)
    expect("events", server.total(LIFETIME, customer_id="c"), 1)

# Stopped for 60 days: fresh events are to be sent again, until they or a person confirm the time.
with Shifted("pause", 60) as server:
    pass
with Shifted("pause2") as server:
    server.record("a", "c", now - 60)
with Shifted("pause2", 60) as server:
    later = time.time() + 60 * DAY
    refusal = server.record("b", "c", later - 5)
    expect("a fresh event is to be sent again", "send it again" in refusal, True)
    shown = subprocess.run([lib.AROM, "profile", "clock", "--server", server.address, "--accept"], capture_output=True, text=True)
    print(shown.stdout + shown.stderr, end="")
    expect("accepted", "trusted      yes" in shown.stdout, True)
    expect("the same event", server.record("b", "c", later - 5), RECORDED)
    expect("events of 24 hours", server.total(DAY_WINDOW, customer_id="c"), 1)
for fault in faults:
    print(f"SUCCEEDED: {fault}")
print("the attack succeeded" if faults else "withstood")
sys.exit(bool(faults))
