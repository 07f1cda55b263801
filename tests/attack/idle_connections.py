"""1,100 connections that send nothing, or only a preface, against a server that may have 1,024 files open.

The profile store must go on writing, the accept loop must not spin, newcomers must get in, and the port must be free of idle
connections after the handshake time.
"""

import resource
import sys
import tempfile
import time

from lib import NO_SETTINGS, PREFACE, Innocent, Server, verdict

import grpc
from arom.v1 import profile_pb2, profile_service_pb2, profile_service_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp
import socket

CONNECTIONS = 1_100
resource.setrlimit(resource.RLIMIT_NOFILE, (min(20_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)


def events(batch: int) -> profile_service_pb2.RecordEventsRequest:
    now = Timestamp()
    now.GetCurrentTime()
    return profile_service_pb2.RecordEventsRequest(events=[
        profile_pb2.ProfileEvent(
            event_id=f"{batch}-{number}", event_time=now, customer_id=f"c{number}", brand_ids=["b"], channel=1,
            scored=profile_pb2.ScoredText(label=3, score=-0.5))
        for number in range(256)])


def attack(name: str, first_bytes: bytes) -> list:
    with tempfile.TemporaryDirectory() as store, Server(
            "--profile-store", store, "--handshake-timeout-seconds", "5", files=1024) as server:
        innocent = Innocent(server)
        profiles = profile_service_pb2_grpc.ProfileServiceStub(grpc.insecure_channel(server.address))
        profiles.RecordEvents(events(0), timeout=10)
        idle = []
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", server.grpc), timeout=5)
            try:
                connection.sendall(first_bytes)
            except OSError:
                pass
            idle.append(connection)
        files = server.open_files()
        innocent.stop()
        before = server.cpu_seconds()
        time.sleep(2)
        cpu = (server.cpu_seconds() - before) / 2
        refused = None
        for batch in range(1, 201):
            try:
                profiles.RecordEvents(events(batch), timeout=10)
            except grpc.RpcError as error:
                refused = f"batch {batch}: {error.code().name} {error.details()}"
                break
        newcomer = None
        try:
            options = [("grpc.use_local_subchannel_pool", 1)]
            fresh = profile_service_pb2_grpc.ProfileServiceStub(grpc.insecure_channel(server.address, options))
            fresh.RecordEvents(events(1_000), timeout=3)
        except grpc.RpcError as error:
            newcomer = f"{error.code().name} {error.details()}"
        time.sleep(6)
        left = server.metric("arom_connections")
        print(f"{name}: {files} files open at most, {cpu:.0%} of a CPU while idle, 51,200 events recorded: "
              f"{refused or 'yes'}, a newcomer: {newcomer or 'answered'}, connections after the handshake time: {left:.0f}, "
              f"{innocent.stop()}")
        return [
            files > 1_000 and f"{name}: {files} files are open",
            cpu > 0.5 and f"{name}: the server is busy with nothing",
            refused and f"{name}: the store refuses: {refused}",
            newcomer and f"{name}: a newcomer is not served: {newcomer}",
            not first_bytes and left > 10 and f"{name}: {left:.0f} silent connections stay",
            innocent.failures and f"{name}: {innocent.failures[:3]}",
        ]


verdict(*attack("silent", b""), *attack("half a preface", PREFACE[:12]), *attack("only a preface", PREFACE + NO_SETTINGS))
