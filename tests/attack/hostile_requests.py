"""Requests made to be expensive by their values and counts: each is refused in little time, and nobody else waits.

- lists of a million empty items, of which each has two bytes on the wire and hundreds in memory; by many callers at once
- one event, or one text to be recorded, of a million brands
- hundreds of faults at once: the error must reach the client as INVALID_ARGUMENT, whatever the metadata it has room for
- broken exports, prefixes and page tokens
"""

import base64
import concurrent.futures
import os
import tempfile
import threading
import time

from lib import Innocent, Server, verdict

import grpc
from arom.v1 import conversation_pb2 as conv
from arom.v1 import conversation_service_pb2 as conv_service
from arom.v1 import conversation_service_pb2_grpc as conv_stubs
from arom.v1 import profile_pb2 as prof
from arom.v1 import profile_service_pb2 as prof_service
from arom.v1 import profile_service_pb2_grpc as prof_stubs
from arom.v1 import sentiment_pb2 as pb
from arom.v1 import sentiment_service_pb2 as service
from arom.v1 import sentiment_service_pb2_grpc as stubs

# 4 MiB of items of two bytes, less what stands around them.
EMPTY = (2 << 20) - 64
# What a refusal may take, the sending of 4 MiB included, and what a call of an innocent client may take beside them.
REFUSED_WITHIN = 5.0
ANSWERED_WITHIN = 5.0
CALLERS = 16
# What the server may grow by while all callers send 4 MiB at once.
GROWTH_MIB = 300.0
BIG = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


class Client:
    def __init__(self, server: Server, options=BIG):
        self.channel = grpc.insecure_channel(server.address, options)
        self.texts = stubs.SentimentServiceStub(self.channel)
        self.conversations = conv_stubs.ConversationServiceStub(self.channel)
        self.profiles = prof_stubs.ProfileServiceStub(self.channel)


def text(**fields) -> pb.AnalyzeSentimentRequest:
    return pb.AnalyzeSentimentRequest(text="ดี", **fields)


def empty_items():
    """(name, method, request), with lists of as many empty items as a message has room for."""
    names = [""] * EMPTY
    recording = text(recording=pb.Recording(event_id="e", customer_id="c", brand_ids=names[:EMPTY - 64]))
    sticker = conv.ConversationMessage(role=1, sticker=conv.Sticker(keywords=names[:EMPTY - 64]))
    yield "texts", lambda c: c.texts.BatchAnalyzeSentiment, service.BatchAnalyzeSentimentRequest(
        requests=[pb.AnalyzeSentimentRequest()] * EMPTY)
    yield "brands of a recording", lambda c: c.texts.AnalyzeSentiment, recording
    yield "brands of a recording in a batch", lambda c: c.texts.BatchAnalyzeSentiment, \
        service.BatchAnalyzeSentimentRequest(requests=[recording])
    yield "brands of a recording in a stream", lambda c: lambda request, timeout: next(c.texts.StreamAnalyzeSentiment(
        iter([request]), timeout=timeout)), service.StreamAnalyzeSentimentRequest(request=recording)
    yield "messages", lambda c: c.conversations.AnalyzeConversation, conv_service.AnalyzeConversationRequest(
        messages=[conv.ConversationMessage()] * EMPTY)
    yield "keywords", lambda c: c.conversations.AnalyzeConversation, conv_service.AnalyzeConversationRequest(messages=[sticker])
    yield "keywords in a stream", lambda c: lambda request, timeout: next(c.conversations.StreamConversation(
        iter([request]), timeout=timeout)), conv_service.StreamConversationRequest(message=sticker)
    yield "events", lambda c: c.profiles.RecordEvents, prof_service.RecordEventsRequest(events=[prof.ProfileEvent()] * EMPTY)
    yield "brands of an event", lambda c: c.profiles.RecordEvents, prof_service.RecordEventsRequest(
        events=[prof.ProfileEvent(event_id="e", brand_ids=names[:EMPTY - 64])])
    yield "ids", lambda c: c.profiles.RetractEvents, prof_service.RetractEventsRequest(event_ids=names)
    yield "keys", lambda c: c.profiles.BatchGetProfiles, prof_service.BatchGetProfilesRequest(keys=[prof.ProfileKey()] * EMPTY)
    yield "watched keys", lambda c: lambda request, timeout: next(c.profiles.WatchProfiles(request, timeout=timeout)), \
        prof_service.WatchProfilesRequest(keys=[prof.ProfileKey()] * EMPTY)
    yield "watched prefixes", lambda c: lambda request, timeout: next(c.profiles.WatchProfiles(request, timeout=timeout)), \
        prof_service.WatchProfilesRequest(key_prefixes=names)


def hostile_values():
    """Values that are refused, or answered: lists of many, faults of many, broken bytes."""
    many = [f"{number:x}" for number in range(600_000)]
    recording = text(recording=pb.Recording(event_id="e", customer_id="c", brand_ids=many))
    yield "an event of 600,000 brands", lambda c: c.profiles.RecordEvents, prof_service.RecordEventsRequest(
        events=[prof.ProfileEvent(event_id="e", customer_id="c", brand_ids=many)])
    yield "a recording of 600,000 brands", lambda c: c.texts.AnalyzeSentiment, recording
    yield "the same in a batch", lambda c: c.texts.BatchAnalyzeSentiment, service.BatchAnalyzeSentimentRequest(requests=[recording])
    yield "the same in a stream", lambda c: lambda request, timeout: next(c.texts.StreamAnalyzeSentiment(
        iter([request]), timeout=timeout)), service.StreamAnalyzeSentimentRequest(request=recording)
    yield "100,000 names", lambda c: c.conversations.AnalyzeConversation, conv_service.AnalyzeConversationRequest(
        messages=[conv.ConversationMessage(role=1, text="ดี")], speaker_roles={name: 1 for name in many[:100_000]})
    yield "256 bad keys", lambda c: c.profiles.BatchGetProfiles, prof_service.BatchGetProfilesRequest(keys=[prof.ProfileKey()] * 256)
    for number in (17, 400, 5000):
        yield f"{number} bad roles", lambda c: c.conversations.AnalyzeConversation, conv_service.AnalyzeConversationRequest(
            messages=[conv.ConversationMessage(role=99, text="ดี")] * number)
        yield f"{number} bad speakers", lambda c: c.conversations.AnalyzeConversation, conv_service.AnalyzeConversationRequest(
            messages=[conv.ConversationMessage(role=1, speaker="ก" * 100, message_id="ข" * 50, text="ดี")] * number)
    yield "a long id", lambda c: c.profiles.RetractEvents, prof_service.RetractEventsRequest(event_ids=["ก" * 300_000])
    yield "256 long ids", lambda c: c.profiles.RetractEvents, prof_service.RetractEventsRequest(event_ids=["ก" * 4000] * 256)
    yield "a long language", lambda c: c.texts.AnalyzeSentiment, text(language_code="\x00é" * 100_000)
    yield "a long prefix", lambda c: c.profiles.ListProfiles, prof_service.ListProfilesRequest(key_prefix="a" * 65_536)
    token = base64.urlsafe_b64encode(os.urandom(100_000)).decode()
    yield "a long token", lambda c: c.profiles.ListProfiles, prof_service.ListProfilesRequest(page_token=token)
    for name, content in [
        ("newlines", b"\n" * 4_000_000), ("brackets", b"[" * 4_000_000), ("nested objects", b'{"a":' * 600_000),
        ("quotes", b'"' * 4_000_000), ("commas", b"," * 4_000_000), ("tabs", "09:00\tก\tข\n".encode() * 150_000),
        ("dates", b"2026/09/21(Mon)\n" * 200_000), ("UTF-16 noise", b"\xff\xfe" + os.urandom(3_000_000)),
        ("noise", os.urandom(3_900_000)), ("colons", b"a:b:c: " * 500_000),
        ("names of one word", b"\n".join(b"12:00 n%d hello" % number for number in range(150_000))),
    ]:
        yield f"an export of {name}", lambda c: c.conversations.AnalyzeConversation, conv_service.AnalyzeConversationRequest(
            export=conv.ConversationExport(content=content))


def item_code(answer) -> str:
    """The code of the first item of an answer that was refused in it."""
    results = getattr(answer, "results", None)
    item = results[0] if results else answer
    error = item.error if "error" in item.DESCRIPTOR.fields_by_name and item.HasField("error") else None
    codes = {code.value[0]: code.name for code in grpc.StatusCode}
    return codes[error.code] if error else "OK"


def send(client: Client, method, request) -> tuple[str, float]:
    begun = time.monotonic()
    try:
        said = item_code(method(client)(request, timeout=30))
    except grpc.RpcError as error:
        said = error.code().name
    return said, time.monotonic() - begun


def one_by_one(server: Server, cases) -> str | None:
    client, faults = Client(server), []
    for name, method, request in cases:
        size = request.ByteSize()
        said, took = send(client, method, request)
        print(f"{name:36} {size:9,} bytes  {said:18} {took:5.2f} s  memory {server.memory_mib():5.0f} MiB", flush=True)
        allowed = ("INVALID_ARGUMENT", "OK") if name.startswith("an export") else ("INVALID_ARGUMENT",)
        if said not in allowed or (took > REFUSED_WITHIN and not name.startswith("an export")):
            faults.append(f"{name}: {said} after {took:.1f} s")
    return "; ".join(faults) or None


def all_at_once(server: Server) -> str | None:
    """Many callers, each with its own connection, send the same large message again and again."""
    cases = list(empty_items())[:9:4]
    before, highest, done = server.memory_mib(), 0.0, threading.Event()

    def watch():
        nonlocal highest
        while not done.wait(0.005):
            highest = max(highest, server.memory_mib())

    watching = threading.Thread(target=watch)
    watching.start()
    with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
        clients = [Client(server) for _ in range(CALLERS)]
        jobs = [pool.submit(send, client, method, request) for client in clients for _, method, request in cases]
        answers = [job.result() for job in jobs]
    done.set()
    watching.join()
    slowest = max(took for _, took in answers)
    print(f"{len(answers)} messages of 4 MiB by {CALLERS} callers at once: slowest {slowest:.2f} s, "
          f"memory from {before:.0f} to {highest:.0f} MiB")
    return f"memory grows to {highest:.0f} MiB" if highest - before > GROWTH_MIB else None


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, \
            Server("--model", "arom-fast", "--profile-store", f"{folder}/store") as server:
        innocent = Innocent(server)
        faults = [all_at_once(server), one_by_one(server, empty_items()), one_by_one(server, hostile_values())]
        print(innocent.stop())
        if innocent.failures or innocent.slowest > ANSWERED_WITHIN:
            faults.append(f"another client suffers: {innocent.said} {innocent.failures[:2]}")
        panics = [line for line in server.log if "panicked" in line]
        faults.append(f"panics: {panics[:2]}" if panics else None)
    verdict(*faults)


if __name__ == "__main__":
    main()
