"""A disk that gets full and has room again, a file system that becomes read-only, and a store folder that is deleted or replaced.

Needs root, for a small tmpfs. Nothing that was acknowledged may be lost, nothing that was refused may be there, the store must take
writes again by itself, and nothing may be acknowledged into a folder that is gone.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import lib

import grpc
from arom.v1 import profile_pb2 as pb
from arom.v1 import profile_service_pb2 as service
from arom.v1 import profile_service_pb2_grpc as stubs
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc

if os.geteuid() != 0:
    sys.exit("needs root, to mount a small disk")
CUSTOMERS = 20
faults = []


class Store:
    """What was acknowledged of a server's store, and what was refused."""

    def __init__(self):
        self.acknowledged, self.refused, self.sent = set(), set(), 0

    def record(self, server: lib.Server, count: int = 64) -> str:
        self.sent += 1
        when = Timestamp()
        when.FromNanoseconds(int((time.time() - 5) * 1e9))
        events = [pb.ProfileEvent(event_id=f"e{self.sent}-{number}", event_time=when, customer_id=f"c{number % CUSTOMERS}",
                                  brand_ids=["b"], channel=1, scored=pb.ScoredText(label=3, score=-0.5))
                  for number in range(count)]
        ids = {event.event_id for event in events}
        try:
            results = server.client.RecordEvents(service.RecordEventsRequest(events=events), timeout=30).results
        except grpc.RpcError as error:
            self.refused |= ids
            return error.code().name
        self.acknowledged |= {one.event_id for one in results if one.WhichOneof("outcome") == "status"}
        return "OK"

    def compare(self, server: lib.Server, what: str) -> None:
        held = set()
        for customer in range(CUSTOMERS):
            token = None
            while token != "":
                request = service.ExportSubjectRequest(customer_id=f"c{customer}", page_token=token or "")
                answer = server.client.ExportSubject(request, timeout=30)
                held |= {one.event.event_id for one in answer.events}
                token = answer.next_page_token
        found = server.client.GetProfile(service.GetProfileRequest(key=pb.ProfileKey(brand_id="b")), timeout=30).profile
        brand = next(one.counts.total for one in found.windows if one.window == 6)
        lost, doubled = self.acknowledged - held, held - self.acknowledged
        print(f"{what}: {len(self.acknowledged)} acknowledged, {len(lost)} lost, {len(doubled)} there though refused, brand {brand}")
        if lost or doubled or brand != len(self.acknowledged):
            faults.append(f"{what}: {len(lost)} lost, {len(doubled)} there though refused, brand {brand}")


def start(folder: str, *flags: str) -> lib.Server:
    server = lib.Server("--model", "arom-fast", "--shutdown-delay-seconds", "0", "--profile-store", folder, *flags)
    channel = grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 256 << 20)])
    server.client, server.health = stubs.ProfileServiceStub(channel), health_pb2_grpc.HealthStub(channel)
    return server


def stop(server: lib.Server, kill: bool = True) -> None:
    if kill:
        server.process.kill()
    else:
        server.terminate()
    server.process.wait()


def readiness(server: lib.Server) -> int:
    try:
        with urllib.request.urlopen(f"{server.page}/readyz", timeout=5) as page:
            return page.status
    except urllib.error.HTTPError as error:
        return error.code


def health(server: lib.Server, name: str) -> int:
    return server.health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5).status


def expect(what: str, found, wanted) -> None:
    print(f"{what}: {found}")
    if found != wanted:
        faults.append(f"{what} is {found}, not {wanted}")


def within(seconds: float, so, pause: float = 0.1) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if so():
            return True
        time.sleep(pause)
    return False


def room(disk: str) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def ballast(disk: str, leave: int) -> None:
    """Fills a disk but for so many bytes, so that the store has to fill only those."""
    with open(os.path.join(disk, "ballast"), "ab") as file:
        file.write(os.urandom(max(0, room(disk) - leave)))


def fill(store: Store, server: lib.Server) -> None:
    """Records until the disk is full."""
    ballast(disk, 300_000)
    expect("it gets full", within(60, lambda: store.record(server, 256) == "UNAVAILABLE", pause=0), True)


def empty() -> None:
    os.remove(os.path.join(disk, "ballast"))


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


outer = tempfile.mkdtemp()
disk = os.path.join(outer, "disk")
os.mkdir(disk)
mount("-t", "tmpfs", "-o", "size=160m", "tmpfs", disk)
try:
    store, server = Store(), start(os.path.join(disk, "store"), "--profile-readiness", "required")
    fill(store, server)
    print(f"full after {len(store.acknowledged)} events")
    expect("health of the store says so", within(5, lambda: health(server, "arom.v1.ProfileService") == 2), True)
    expect("health of the server", health(server, ""), 1)
    expect("/readyz, where the store is required", readiness(server), 503)
    expect("the metric says so", within(5, lambda: server.metric("arom_profile_store_writable") == 0), True)
    store.compare(server, "while it is full")
    for round_ in range(2):
        for _ in range(20):
            store.record(server)
        empty()
        begun = time.monotonic()
        expect("it takes writes by itself", within(20, lambda: store.record(server, 1) == "OK"), True)
        print(f"after {time.monotonic() - begun:.1f} s")
        expect("health", within(5, lambda: health(server, "arom.v1.ProfileService") == 1), True)
        store.compare(server, "after it healed")
        fill(store, server)
    log = "".join(server.log)
    print(f"log lines of it: {log.count('takes no writes; reads')} begun, {log.count('takes writes again')} ended")
    # Killed in the middle of healing.
    for pause in (0, 0.6, 1.2):
        empty()
        time.sleep(pause)
        stop(server)
        server = start(os.path.join(disk, "store"))
        store.compare(server, "killed while it healed")
        fill(store, server)
    # Started, and killed, while it is full.
    for _ in range(2):
        stop(server)
        ballast(disk, 0)
        server = start(os.path.join(disk, "store"))
        store.compare(server, "started on a full disk")
        store.record(server)
    stop(server, kill=False)
    empty()
    server = start(os.path.join(disk, "store"))
    store.compare(server, "after a restart")
    expect("a write", store.record(server), "OK")
    stop(server)
finally:
    subprocess.run(["umount", "-l", disk], check=False)

# A folder that goes while it is open.
for how in ("deleted", "moved", "replaced", "emptied"):
    folder = os.path.join(outer, how)
    store, server = Store(), start(folder)
    for _ in range(5):
        store.record(server)
    if how == "deleted":
        shutil.rmtree(folder)
    elif how == "emptied":
        shutil.rmtree(os.path.join(folder, "rows"))
        os.mkdir(os.path.join(folder, "rows"))
    else:
        os.rename(folder, folder + ".away")
        if how == "replaced":
            other = start(folder)
            stop(other)
    expect(f"writes into a folder that was {how}", {store.record(server) for _ in range(20)}, {"UNAVAILABLE"})
    expect("health", within(5, lambda: health(server, "arom.v1.ProfileService") == 2), True)
    expect("the log names what is gone", within(5, lambda: "was deleted, moved or replaced" in "".join(server.log)), True)
    if how == "moved":
        os.rename(folder + ".away", folder)
        expect("it goes on once it is back", within(15, lambda: store.record(server, 1) == "OK"), True)
        store.compare(server, "moved back")
    stop(server)
    if how in ("moved", "replaced"):
        server = start(folder if how == "moved" else folder + ".away")
        store.compare(server, "after a restart")
        stop(server)
shutil.rmtree(outer, ignore_errors=True)
for fault in faults:
    print(f"SUCCEEDED: {fault}")
print("the attack succeeded" if faults else "withstood")
sys.exit(bool(faults))
