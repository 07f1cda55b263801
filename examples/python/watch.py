"""Keeps a copy of what a server knows of brands and customers, as a marketing platform would.

Set up as client.py says; the server needs --profile-store. Then, from the top of the repository:

    python examples/python/watch.py 127.0.0.1:50051 brand/ resume-token

Each change is printed as a line. The last argument names a file for the resume token: started again, it goes on from there and
misses nothing. A connection that breaks is taken up again.
"""

import pathlib
import sys
import time

import grpc

from arom.v1 import profile_pb2, profile_service_pb2, profile_service_pb2_grpc


def name(key: profile_pb2.ProfileKey) -> str:
    parts = [("customer", key.customer_id), ("brand", key.brand_id)]
    return "/".join(f"{kind}/{id}" for kind, id in parts if id)


def line(message: profile_service_pb2.WatchProfilesResponse) -> str:
    kind = message.WhichOneof("event")
    if kind == "profile":
        day = next(window for window in message.profile.windows if window.window == profile_pb2.FEATURE_WINDOW_DAY)
        share = day.counts.negative / max(day.counts.total, 1)
        return f"profile {name(message.profile.key)} revision {message.profile.revision}: {day.counts.total} events in 24 h, {share:.0%} negative"
    if kind == "signal":
        phase = profile_pb2.SignalPhase.Name(message.signal.phase).removeprefix("SIGNAL_PHASE_").lower()
        signal = profile_pb2.SignalKind.Name(message.signal.kind).removeprefix("SIGNAL_KIND_").lower()
        return f"signal {name(message.signal.key)}: {signal} {phase} at {message.signal.statistic:.2f}"
    if kind == "gone":
        return f"gone {name(message.gone.key)}" + (" (erased)" if message.gone.erased else "")
    return kind


def changes(client: profile_service_pb2_grpc.ProfileServiceStub, prefix: str, token: bytes):
    """Messages for ever: after a broken connection, those that come after the last one."""
    while True:
        request = profile_service_pb2.WatchProfilesRequest(key_prefixes=[prefix], resume_token=token)
        try:
            for message in client.WatchProfiles(request):
                # Within a snapshot there is none: who is cut off there gets it anew.
                token = message.resume_token or token
                yield message
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.OUT_OF_RANGE:
                token = b""  # what was missed is not known any more: all anew
            elif error.code() != grpc.StatusCode.UNAVAILABLE or not token:
                raise
            time.sleep(0.2)


def main(address: str = "127.0.0.1:50051", prefix: str = "brand/", file: str = "") -> None:
    path = pathlib.Path(file) if file else None
    token = path.read_bytes() if path and path.exists() else b""
    with grpc.insecure_channel(address) as channel:
        for message in changes(profile_service_pb2_grpc.ProfileServiceStub(channel), prefix, token):
            if message.WhichOneof("event") != "heartbeat":
                print(line(message), flush=True)
            # What was printed is done: only now is it remembered.
            if path and message.resume_token:
                path.write_bytes(message.resume_token)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
    except KeyboardInterrupt:
        sys.exit(130)
