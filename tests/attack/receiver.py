"""A receiver that keeps the documented rule must end with the profiles of the store, whatever fails on the way.

The receiver keeps the highest sequence of each source and subject. It refuses some batches for good, so that they become dead letters,
loses the answer to others, so that they come twice, and is killed in the middle. A customer is erased while letters of them wait; letters
are replayed; a backup is restored and a second server goes on from it, while letters of the first one come late.
"""

import http.server
import json
import os
import random
import subprocess
import tempfile
import threading
import time

import lib
from recorder import Store, expect, faults, name, start, stop, within

from arom.v1 import profile_service_pb2 as service

FOLDER = tempfile.mkdtemp()
SECRET = os.path.join(FOLDER, "secret")
with open(SECRET, "w") as secret:
    secret.write("a secret that is long enough to be one")


class Receiver:
    """What is known of each subject of each source: its sequence and profile."""

    def __init__(self):
        self.known, self.random, self.manner = {}, random.Random(7), "mixed"
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                events = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(outer.take(events))
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, events: list) -> int:
        chance = self.random.random() if self.manner == "mixed" else 1
        if chance < 0.3:
            return 410
        for event in events:
            self.apply(event)
        return 503 if chance < 0.4 else 204

    def apply(self, event: dict) -> None:
        source, subject, sequence = event["source"], event["subject"], int(event["sequence"])
        if event["type"].startswith("arom.v1.signal"):
            return
        known = self.known.setdefault(source, {})
        if event["type"] == "arom.v1.profile.erased":
            # It applies to everything of the customer that is older, whenever it comes.
            customer = event["data"]["key"]["customer_id"]
            for other, (at, _) in list(known.items()):
                if at < sequence and f"{other}/".startswith(f"customer/{customer}/"):
                    known[other] = (sequence, None)
        if sequence < known.get(subject, (0, None))[0]:
            return
        known[subject] = (sequence, event["data"] if event["type"] == "arom.v1.profile.updated" else None)

    def profiles(self, source: str) -> dict:
        """The lifetime counts and the revision of each subject that is there."""
        return {subject: figures(profile) for subject, (_, profile) in self.known.get(source, {}).items() if profile}


def figures(profile: dict) -> tuple:
    window = next(one for one in profile["windows"] if one["window"] == "FEATURE_WINDOW_LIFETIME")
    return int(profile.get("revision", 0)), int(window["counts"].get("total", 0)), profile["last_score"]["value"]


def held(server: lib.Server) -> dict:
    """The same of the server's store."""
    from google.protobuf.json_format import MessageToDict

    found, token = {}, None
    while token != "":
        answer = server.client.ListProfiles(service.ListProfilesRequest(page_token=token or ""), timeout=30)
        for profile in answer.profiles:
            key = profile.key
            parts = [("customer", key.customer_id), ("brand", key.brand_id)]
            subject = "/".join(f"{kind}/{value}" for kind, value in parts if value)
            found[subject] = figures(MessageToDict(profile, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))
        token = answer.next_page_token
    return found


def flags(letters: str) -> list[str]:
    return ["--sink-webhook-url", receiver.url, "--sink-webhook-secret-file", SECRET, "--sink-webhook-attempts", "3",
            "--sink-webhook-dead-letters", os.path.join(FOLDER, letters)]


def replay(store: str, letters: str) -> None:
    command = ["sink", "replay", "--profile-store", store, *flags(letters)]
    done = subprocess.run([lib.AROM, *command], capture_output=True, text=True, timeout=60)
    print(done.stdout.strip() or done.stderr.strip())


def compare(server: lib.Server, source: str, what: str) -> None:
    wanted = held(server)

    def same() -> bool | list:
        found = receiver.profiles(source)
        return found == wanted or [(key, found.get(key), wanted.get(key)) for key in set(found) | set(wanted)
                                   if found.get(key) != wanted.get(key)][:3]

    expect(f"{what}: the receiver has {len(wanted)} profiles as the store has them", within(30, same), True)


receiver = Receiver()
first, store = os.path.join(FOLDER, "first"), Store()
server = start(first, *flags("letters"))
for turn in range(30):
    store.record(server, 1 + turn % 40)
    time.sleep(0.1)
    if turn == 15:
        stop(server)
        server = start(first, *flags("letters"))
source = next(iter(receiver.known))
letters = os.path.join(FOLDER, "letters")
waiting = lambda: os.path.exists(letters) and open(letters).read().count('"event"')
expect("dead letters wait", bool(waiting()), True)
store.erase(server, name(3))
store.record(server, 3)
receiver.manner = "well"
store.record(server, 2)
time.sleep(1)
replay(first, "letters")
compare(server, source, "replayed while the server runs")
expect("of the erased customer there is nothing", [key for key in receiver.profiles(source) if name(3) in key], [])

# A backup, and what comes after it.
backup = os.path.join(FOLDER, "backup")
subprocess.run([lib.AROM, "profile", "backup", "--server", server.address, backup], check=True, capture_output=True)
receiver.manner = "mixed"
for _ in range(10):
    store.record(server, 30)
    time.sleep(0.1)
old_letters = waiting()
stop(server)
receiver.manner = "well"
second = os.path.join(FOLDER, "second")
subprocess.run([lib.AROM, "profile", "restore", backup, "--profile-store", second], check=True, capture_output=True)
server = start(second, *flags("letters2"))
later = Store()
later.sent = 1000
for _ in range(3):
    later.record(server, 20)
within(10, lambda: len(receiver.known) == 2)
expect("a restored store is another source", len(receiver.known), 2)
other = next(one for one in receiver.known if one != source)
# All of them changed since; a receiver loads others once, when it sees a new source.
compare(server, other, "restored")
print(f"{old_letters} letters of the first store come late")
replay(first, "letters")
compare(server, other, "after the late letters")
stop(server)
for fault in faults:
    print(fault)
lib.verdict(*faults)
