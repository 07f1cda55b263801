"""Half an hour of everything at once: honest callers, careless ones and attackers, on one server with a profile store.

Memory, open files and threads must be flat after the warm-up, an innocent client must be served, nothing may panic, and the
counts of the store must be exactly what was acknowledged. The server must also stop when it is told to.

    python3 tests/attack/long/mixed_soak.py [SECONDS]
"""

import gzip
import os
import pathlib
import random
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections import Counter

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import DATA, HEADERS, NO_SETTINGS, PREFACE, RST_STREAM, Innocent, Server, frame, headers, message, verdict

import grpc
from arom.v1 import conversation_pb2, conversation_service_pb2, conversation_service_pb2_grpc
from arom.v1 import profile_pb2, profile_service_pb2, profile_service_pb2_grpc
from arom.v1 import sentiment_pb2, sentiment_service_pb2, sentiment_service_pb2_grpc

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 1800.0
# The part of the run after which nothing may grow any more.
WARM_UP = 0.3
ANALYZE = "/arom.v1.SentimentService/AnalyzeSentiment"
LETTERS = "กขคงจ @0aา่้ๆ"
ZEROS = gzip.compress(bytes(32 << 20), 9)
# A connection for each channel; grpcio would share one among all of this process.
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


class Abuse:
    """One server, and what is done to it; each method is one round of one kind."""

    def __init__(self, server: Server):
        self.server, self.done, self.failed = server, Counter(), Counter()
        self.sent, self.recorded = 0, 0
        self.shared = self.channel()

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.server.address, OPTIONS)

    def long_texts(self, chance: random.Random) -> None:
        with self.channel() as channel:
            text = "".join(chance.choice(LETTERS) for _ in range(chance.randrange(1, 20_000)))
            features = sentiment_pb2.AnalysisFeatures(clauses=True, targets=True, explanation=chance.random() < 0.2)
            request = sentiment_pb2.AnalyzeSentimentRequest(text=text, features=features)
            sentiment_service_pb2_grpc.SentimentServiceStub(channel).AnalyzeSentiment(request, timeout=chance.choice([0.05, 0.5, 2]))

    def resets(self, chance: random.Random) -> None:
        with socket.create_connection(("127.0.0.1", self.server.grpc)) as client:
            client.sendall(PREFACE + NO_SETTINGS)
            for stream in range(1, 41, 2):
                text = sentiment_pb2.AnalyzeSentimentRequest(text=f"ดี {chance.randrange(10**9)}").SerializeToString()
                client.sendall(frame(HEADERS, 4, stream, headers(ANALYZE)) + frame(DATA, 1, stream, message(text))
                               + frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))

    def bombs(self, chance: random.Random) -> None:
        with socket.create_connection(("127.0.0.1", self.server.grpc)) as client:
            client.sendall(PREFACE + NO_SETTINGS + frame(HEADERS, 4, 1, headers(ANALYZE, "application/grpc", ("grpc-encoding", "gzip"))))
            body = b"\1" + struct.pack(">I", len(ZEROS)) + ZEROS
            for start in range(0, len(body), 16_000):
                client.sendall(frame(DATA, 0, 1, body[start:start + 16_000]))
            client.settimeout(0.3)
            client.recv(1000)

    def records(self, chance: random.Random) -> None:
        client = profile_service_pb2_grpc.ProfileServiceStub(self.shared)
        events = []
        for _ in range(32):
            self.sent += 1
            event = profile_pb2.ProfileEvent(
                event_id=f"soak-{self.sent}", customer_id=f"c{chance.randrange(500)}", brand_ids=[f"b{chance.randrange(20)}"],
                scored=profile_pb2.ScoredText(label=sentiment_pb2.SENTIMENT_LABEL_NEGATIVE, score=-0.5))
            event.event_time.FromSeconds(int(time.time()) - chance.randrange(10_000))
            events.append(event)
        answer = client.RecordEvents(profile_service_pb2.RecordEventsRequest(events=events), timeout=60)
        # An erased customer's older events are refused, and so are not counted.
        self.recorded += sum(result.WhichOneof("outcome") == "status" for result in answer.results)
        if chance.random() < 0.05:
            request = profile_service_pb2.EraseSubjectRequest(customer_id=f"c{chance.randrange(500)}")
            client.EraseSubject(request, timeout=60)

    def watches(self, chance: random.Random) -> None:
        with self.channel() as channel:
            client = profile_service_pb2_grpc.ProfileServiceStub(channel)
            request = profile_service_pb2.WatchProfilesRequest(key_prefixes=["brand/"])
            watches = [client.WatchProfiles(request, timeout=3) for _ in range(5)]
            for watch in watches:
                next(watch)
            time.sleep(0.5)

    def streams(self, chance: random.Random) -> None:
        count = chance.randrange(5, 200)

        def requests():
            for _ in range(count):
                request = sentiment_pb2.AnalyzeSentimentRequest(text=f"อร่อย {chance.randrange(10**9)}")
                yield sentiment_service_pb2.StreamAnalyzeSentimentRequest(request=request)

        with self.channel() as channel:
            answers = sentiment_service_pb2_grpc.SentimentServiceStub(channel).StreamAnalyzeSentiment(requests(), timeout=3)
            for at, _ in enumerate(answers):
                if at > count // 2 and chance.random() < 0.1:
                    answers.cancel()
                    break

    def conversations(self, chance: random.Random) -> None:
        def messages():
            for at in range(60):
                message = conversation_pb2.ConversationMessage(role=1 + at % 2, text=f"ดี {chance.randrange(1000)}")
                yield conversation_service_pb2.StreamConversationRequest(message=message)

        with self.channel() as channel:
            for _ in conversation_service_pb2_grpc.ConversationServiceStub(channel).StreamConversation(messages(), timeout=3):
                pass

    def idle_connections(self, chance: random.Random) -> None:
        ports = [self.server.grpc, self.server.http]
        clients = [socket.create_connection(("127.0.0.1", chance.choice(ports))) for _ in range(50)]
        for client in clients:
            client.sendall(os.urandom(chance.randrange(1, 60)))
        time.sleep(0.2)
        for client in clients:
            client.close()

    def back_ups(self, chance: random.Random) -> None:
        client = profile_service_pb2_grpc.ProfileServiceStub(self.shared)
        for _ in client.BackUpProfiles(profile_service_pb2.BackUpProfilesRequest(), timeout=60):
            if chance.random() < 0.1:
                break
        time.sleep(2)

    def lists(self, chance: random.Random) -> None:
        request = profile_service_pb2.ListProfilesRequest(order_by=1 + chance.randrange(2), window=1 + chance.randrange(6), page_size=200)
        profile_service_pb2_grpc.ProfileServiceStub(self.shared).ListProfiles(request, timeout=30)

    def nonsense(self, chance: random.Random) -> None:
        request = profile_service_pb2.ListProfilesRequest(key_prefix="x" * chance.randrange(1, 100_000), page_token="y" * 2000)
        profile_service_pb2_grpc.ProfileServiceStub(self.shared).ListProfiles(request, timeout=30)

    KINDS = [long_texts, resets, bombs, records, watches, streams, conversations, idle_connections, back_ups, lists, nonsense]

    def go_on(self, kind, end: float) -> None:
        chance = random.Random(kind.__name__)
        while time.monotonic() < end:
            try:
                kind(self, chance)
            except Exception as error:  # What an attacker gets does not matter; it is counted.
                code = error.code().name if isinstance(error, grpc.RpcError) else type(error).__name__
                self.failed[f"{kind.__name__} {code}"] += 1
            self.done[kind.__name__] += 1
            time.sleep(0.05)

    def total(self) -> int:
        """The events that brands count in all: those of erased customers stay there."""
        client = profile_service_pb2_grpc.ProfileServiceStub(self.shared)
        keys = [profile_pb2.ProfileKey(brand_id=f"b{at}") for at in range(20)]
        answer = client.BatchGetProfiles(profile_service_pb2.BatchGetProfilesRequest(keys=keys), timeout=60)
        windows = [window for result in answer.results for window in result.profile.windows]
        return sum(window.counts.total for window in windows if window.window == profile_pb2.FEATURE_WINDOW_LIFETIME)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, \
            Server("--model", "arom-fast", "--profile-store", folder, "--catalogue", "examples/catalogue.toml",
                   # The cache may grow to its limit for an hour, which would look like a leak: it is full within minutes.
                   "--cache-bytes", str(1 << 20)) as server:
        begun = time.monotonic()
        abuse, innocent, samples = Abuse(server), Innocent(server), []
        threads = [threading.Thread(target=abuse.go_on, args=(kind, begun + SECONDS)) for kind in Abuse.KINDS]
        for thread in threads:
            thread.start()
        step = max(2.0, SECONDS / 60)
        while time.monotonic() < begun + SECONDS:
            time.sleep(step)
            sample = (time.monotonic() - begun, server.memory_mib(), server.open_files())
            samples.append(sample)
            print("{:6.0f} s {:7.0f} MiB {:5d} open files".format(*sample), flush=True)
        for thread in threads:
            thread.join()
        said, counted = innocent.stop(), abuse.total()
        panics = sum("panicked" in line for line in server.log)
        server.terminate()
        ended = server.process.wait(60)
        warm = [sample for sample in samples if sample[0] > SECONDS * WARM_UP]
        half = len(warm) // 2
        memory = [statistics.median(sample[1] for sample in part) for part in (warm[:half], warm[half:])]
        files = [statistics.median(sample[2] for sample in part) for part in (warm[:half], warm[half:])]
        print(f"done {dict(abuse.done)}\nfailed {dict(abuse.failed)}\n{said}")
        print(f"memory {memory[0]:.0f} MiB, then {memory[1]:.0f}; open files {files[0]:.0f}, then {files[1]:.0f}; "
              f"events acknowledged {abuse.recorded}, counted {counted}; {panics} panics; exit {ended}")
        verdict(
            "memory grows" if memory[1] > 1.05 * memory[0] + 5 else None,
            "open files grow" if files[1] > 1.1 * files[0] + 20 else None,
            f"{len(innocent.failures)} innocent calls failed: {innocent.failures[:3]}" if innocent.failures else None,
            f"{abuse.recorded} events were acknowledged, {counted} are counted" if abuse.recorded != counted else None,
            f"{panics} panics" if panics else None,
            f"the server ended with {ended}" if ended else None)


main()
