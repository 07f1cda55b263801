"""What the attacks on the profile store share: what was acknowledged and refused, held against what the store has."""

import time

import lib

import grpc
from arom.v1 import profile_pb2 as pb
from arom.v1 import profile_service_pb2 as service
from arom.v1 import profile_service_pb2_grpc as stubs
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc

CUSTOMERS = 20
faults: list[str] = []


def name(number: int) -> str:
    """A customer; no name is the beginning of another."""
    return f"customer-{number}."


class Store:
    """What was acknowledged of a server's store."""

    def __init__(self):
        self.acknowledged, self.of, self.sent, self.erased = set(), {}, 0, 0

    def record(self, server: lib.Server, count: int = 64) -> str:
        """Records so many new events; OK if it was acknowledged, else the code."""
        self.sent += 1
        when = Timestamp()
        when.FromNanoseconds(int((time.time() - 5) * 1e9))
        events = [pb.ProfileEvent(event_id=f"e{self.sent}-{number}", event_time=when, customer_id=name(number % CUSTOMERS),
                                  brand_ids=["b"], channel=1, scored=pb.ScoredText(label=3, score=-0.5))
                  for number in range(count)]
        try:
            results = server.client.RecordEvents(service.RecordEventsRequest(events=events), timeout=30).results
        except grpc.RpcError as error:
            return error.code().name
        done = {one.event_id for one in results if one.WhichOneof("outcome") == "status"}
        self.acknowledged |= done
        self.of |= {event.event_id: event.customer_id for event in events if event.event_id in done}
        return "OK"

    def erase(self, server: lib.Server, customer: str) -> str:
        """Erases a customer, whose events stay with the brand."""
        try:
            server.client.EraseSubject(service.EraseSubjectRequest(customer_id=customer), timeout=30)
        except grpc.RpcError as error:
            return error.code().name
        gone = {event for event in self.acknowledged if self.of[event] == customer}
        self.acknowledged -= gone
        self.erased += len(gone)
        return "OK"

    def compare(self, server: lib.Server, what: str) -> None:
        """Nothing that was acknowledged may be lost, and nothing else be there."""
        try:
            self._compare(server, what)
        except grpc.RpcError as error:
            expect(f"{what}: reads", f"{error.code().name}: {error.details()}", "answered")

    def _compare(self, server: lib.Server, what: str) -> None:
        held = set()
        for number in range(CUSTOMERS):
            token = None
            while token != "":
                request = service.ExportSubjectRequest(customer_id=name(number), page_token=token or "")
                answer = server.client.ExportSubject(request, timeout=30)
                held |= {one.event.event_id for one in answer.events}
                token = answer.next_page_token
        try:
            found = server.client.GetProfile(service.GetProfileRequest(key=pb.ProfileKey(brand_id="b")), timeout=30).profile
            brand = next(one.counts.total for one in found.windows if one.window == 6)
        except grpc.RpcError as error:
            brand = 0 if error.code() == grpc.StatusCode.NOT_FOUND else error.code().name
        lost, doubled = self.acknowledged - held, held - self.acknowledged
        wanted = len(self.acknowledged) + self.erased
        print(f"{what}: {wanted} acknowledged, {len(lost)} lost, {len(doubled)} there though refused, brand {brand}")
        if lost or doubled or brand != wanted:
            faults.append(f"{what}: {len(lost)} lost, {len(doubled)} there though refused, brand {brand} of {wanted}")


def start(folder: str, *flags: str) -> lib.Server:
    """A server with a profile store, and its clients."""
    server = lib.Server("--model", "arom-fast", "--shutdown-delay-seconds", "0", "--profile-store", folder, *flags)
    channel = grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)])
    server.client, server.health = stubs.ProfileServiceStub(channel), health_pb2_grpc.HealthStub(channel)
    return server


def stop(server: lib.Server, kill: bool = True) -> None:
    if kill:
        server.process.kill()
    else:
        server.terminate()
    server.process.wait()


def health(server: lib.Server, service_name: str) -> int:
    return server.health.Check(health_pb2.HealthCheckRequest(service=service_name), timeout=5).status


def expect(what: str, found, wanted) -> None:
    print(f"{what}: {found}", flush=True)
    if found != wanted:
        faults.append(f"{what} is {found}, not {wanted}")


def within(seconds: float, so, pause: float = 0.1):
    """Whether it becomes so; what it was last if it does not."""
    end = time.monotonic() + seconds
    while not (found := so()) is True and time.monotonic() < end:
        time.sleep(pause)
    return found
