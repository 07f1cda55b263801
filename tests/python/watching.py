"""Watches through a wire that breaks again and again: no change is missed and none comes twice.

    python tests/python/watching.py ADDRESS
"""

import random
import socket
import sys
import threading
import time

import grpc

from arom.v1 import profile_pb2, profile_service_pb2, profile_service_pb2_grpc, sentiment_pb2
from watch import changes, name

EVENTS = 1200


class Wire:
    """Carries bytes to a server until it is cut; then the next connection is carried."""

    def __init__(self, address: str):
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.sockets: list[socket.socket] = []
        self.cuts = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection((self.host, self.port))
            self.sockets = [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self.carry, args=(source, sink), daemon=True).start()

    @staticmethod
    def carry(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 12):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self) -> None:
        self.cuts += 1
        for end in self.sockets:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def write(client: profile_service_pb2_grpc.ProfileServiceStub, wire: Wire) -> None:
    for number in range(EVENTS):
        negative = number % 3 == 0 or number % 40 < 2
        label = sentiment_pb2.SENTIMENT_LABEL_NEGATIVE if negative else sentiment_pb2.SENTIMENT_LABEL_POSITIVE
        event = profile_pb2.ProfileEvent(event_id=f"e{number}", customer_id=f"c{number % 40}", brand_ids=[f"b{number % 3}"],
                                         scored=profile_pb2.ScoredText(label=label, score=-0.5 if negative else 0.5))
        event.event_time.FromMilliseconds(int(time.time() * 1000))
        client.RecordEvents(profile_service_pb2.RecordEventsRequest(events=[event]))
        if random.random() < 0.01:
            wire.cut()


def main(address: str) -> None:
    random.seed(7)
    wire = Wire(address)
    with grpc.insecure_channel(address) as direct:
        client = profile_service_pb2_grpc.ProfileServiceStub(direct)
        options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
        with grpc.insecure_channel(wire.address, options) as watched:
            messages = changes(profile_service_pb2_grpc.ProfileServiceStub(watched), "", b"")
            while next(messages).WhichOneof("event") != "snapshot_end":
                pass
            writer = threading.Thread(target=write, args=(client, wire))
            writer.start()
            seen, signals, sequence = {}, set(), 0
            while writer.is_alive() or any(len(revisions) == 0 for revisions in seen.values()) or sequence < EVENTS:
                message = next(messages)
                assert message.sequence >= sequence, "it only grows"
                sequence = message.sequence
                if message.WhichOneof("event") == "profile":
                    revisions = seen.setdefault(name(message.profile.key), [])
                    assert message.profile.revision not in revisions, f"{name(message.profile.key)} came twice"
                    assert not revisions or message.profile.revision > revisions[-1]
                    revisions.append(message.profile.revision)
                elif message.WhichOneof("event") == "signal":
                    signal = message.signal
                    what = (name(signal.key), signal.kind, signal.phase, signal.signal_time.ToNanoseconds())
                    assert what not in signals, f"{what} came twice"
                    signals.add(what)
            writer.join()
            # Everything is said: the next thing is that there is nothing.
            while (message := next(messages)).WhichOneof("event") != "heartbeat":
                revisions = seen.setdefault(name(message.profile.key), [])
                assert message.profile.revision not in revisions
                revisions.append(message.profile.revision)
            known = {}
            token = ""
            while True:
                page = client.ListProfiles(profile_service_pb2.ListProfilesRequest(page_size=256, page_token=token))
                known.update({name(profile.key): profile.revision for profile in page.profiles})
                token = page.next_page_token
                if not token:
                    break
            assert {key: revisions[-1] for key, revisions in seen.items()} == known, "what was watched is what is known"
            assert len(known) == 40 + 3 + 120 and wire.cuts > 3 and signals
    print(f"watched {sum(map(len, seen.values()))} updates and {len(signals)} signals over {wire.cuts} cuts: ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
