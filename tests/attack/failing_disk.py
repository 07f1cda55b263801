"""A disk that fails in each way that a disk can: no space, a quota, an I/O error, a read-only file system, no descriptors left.

Compiles failing_disk.c, which makes calls on the store's files fail with a given error while the server runs; needs a C compiler and
Linux, no root. After each fault nothing that was acknowledged may be lost, nothing that was refused may be there, health, the metric and
the log must say it, the store must take writes again by itself, and a kill in the middle must change none of this.
"""

import errno
import http.server
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import lib
from recorder import Store, expect, faults, health, start, stop, within

FOLDER = os.path.realpath(tempfile.mkdtemp())
SHIM, RULE, DISK = (os.path.join(FOLDER, name) for name in ("failing.so", "rule", "disk"))
SOURCE = pathlib.Path(__file__).with_name("failing_disk.c")
os.mkdir(DISK)
subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", SHIM, SOURCE, "-ldl"], check=True)
SHIMMED = {"LD_PRELOAD": SHIM, "FAILING_FOLDER": DISK, "FAILING_RULE": RULE}


def fail(call: str, error: int, part: str = "-") -> None:
    with open(RULE + ".new", "w") as file:
        file.write(f"{call} {error} {part}\n")
    os.replace(RULE + ".new", RULE)


def heal() -> None:
    if os.path.exists(RULE):
        os.remove(RULE)


def begin(name: str, *flags: str) -> lib.Server:
    """A server on the disk that may fail."""
    os.environ.update(SHIMMED)
    try:
        return start(os.path.join(DISK, name), *flags)
    finally:
        for variable in SHIMMED:
            del os.environ[variable]


def refused(store: Store, server: lib.Server, what: str) -> bool:
    """Records while the disk fails; where that is refused, the server must say so."""
    answers = {store.record(server, 8) for _ in range(3)}
    if answers == {"OK"}:
        return False
    expect(f"{what}: answers", answers <= {"OK", "UNAVAILABLE"}, True)
    expect(f"{what}: health says so", within(5, lambda: health(server, "arom.v1.ProfileService") == 2), True)
    expect(f"{what}: the metric says so", within(5, lambda: server.metric("arom_profile_store_writable") == 0), True)
    expect(f"{what}: the log says so", within(5, lambda: "takes no writes; reads go on" in "".join(server.log)), True)
    store.compare(server, f"{what}: while it fails")
    return True


def heals(store: Store, server: lib.Server, what: str) -> None:
    heal()
    expect(f"{what}: it heals", within(20, lambda: store.record(server, 1) == "OK"), True)
    expect(f"{what}: health", within(5, lambda: health(server, "arom.v1.ProfileService") == 1), True)
    store.compare(server, f"{what}: healed")


def each_fault() -> None:
    """Each error of each call, healed once and killed once."""
    cases = [(call, error, part) for error in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
             for call, part in (("write", "-"), ("write", ".jnl"), ("write", "high-water"), ("sync", "-"), ("sync", ".jnl"))]
    cases += [("open", errno.EMFILE, "-"), ("open", errno.ENFILE, "-")]
    store, server = Store(), begin("faults")
    for call, error, part in cases:
        what = f"{call} {errno.errorcode[error]} {part}"
        store.record(server)
        fail(call, error, part)
        was_refused = refused(store, server, what)
        heals(store, server, what)
        # Where nothing at all can be synced, it cannot be kept how to take back what was refused.
        if was_refused and (call, part) != ("sync", "-"):
            fail(call, error, part)
            store.record(server, 8)
            stop(server)
            heal()
            server = begin("faults")
            store.compare(server, f"{what}: killed")
    stop(server)


def upkeep() -> None:
    """Tables are written, and old bytes wiped, while the disk fails: what an erasure has begun is done once the disk is well."""
    for call, error, part in (("write", errno.ENOSPC, "/keyspaces/"), ("open", errno.EMFILE, "/keyspaces/")):
        what = f"erasing, {call} {errno.errorcode[error]}"
        store, server = Store(), begin(f"upkeep-{call}")
        store.record(server)
        fail(call, error, part)
        store.erase(server, "customer-1.")
        time.sleep(4)
        store.record(server, 8)
        heals(store, server, what)
        folder = pathlib.Path(DISK, f"upkeep-{call}")
        expect(f"{what}: the bytes of who was erased are gone", within(90, lambda: not seen(folder, b"customer-1."), 1), True)
        stop(server)
        server = begin(f"upkeep-{call}")
        store.compare(server, f"{what}: after a restart")
        stop(server)


def seen(folder: pathlib.Path, name: bytes) -> bool:
    """Whether a name is in a file of the folder."""
    for path in folder.rglob("*"):
        try:
            if path.is_file() and name in path.read_bytes():
                return True
        except FileNotFoundError:
            pass  # The store has removed it meanwhile.
    return False


def descriptors() -> None:
    """A real server that may open no more files."""
    store, server = Store(), begin("descriptors")
    store.record(server)
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (server.open_files(), limits[1]))
    for _ in range(20):
        store.record(server)
    store.erase(server, "customer-1.")
    time.sleep(4)
    store.record(server)
    store.compare(server, "no descriptors left")
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
    heals(store, server, "descriptors are back")
    stop(server)
    server = begin("descriptors")
    store.compare(server, "descriptors: after a restart")
    stop(server)


def sinks() -> None:
    """Sinks and dead letters: each change is delivered, or waits as a letter."""
    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(410)
            self.end_headers()

        def log_message(self, *_):
            pass

    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    secret, lines, letters = (os.path.join(DISK, name) for name in ("secret", "lines", "letters"))
    with open(secret, "w") as file:
        file.write("a secret that is long enough to be one")
    for call, error in (("write", errno.ENOSPC), ("sync", errno.EIO), ("open", errno.EMFILE)):
        what = f"sinks, {call} {errno.errorcode[error]}"
        store = Store()
        server = begin(f"sinks-{call}", "--sink-jsonl-folder", os.path.join(lines, call), "--sink-webhook-url",
                       f"http://127.0.0.1:{receiver.server_port}/", "--sink-webhook-secret-file", secret,
                       "--sink-webhook-dead-letters", os.path.join(letters, call, "dead.jsonl"))
        files = [os.path.join(lines, call, "profiles.jsonl"), os.path.join(letters, call, "dead.jsonl")]
        fail(call, error, "jsonl")
        for _ in range(3):
            store.record(server)
        time.sleep(1.5)
        heal()
        wanted = {f"customer/customer-{number}." for number in range(20)}
        for file in files:
            expect(f"{what}: all of it is in {os.path.basename(file)}",
                   within(30, lambda: wanted <= subjects(file)) or sorted(wanted - subjects(file)), True)
        store.compare(server, what)
        stop(server)
    receiver.shutdown()


def subjects(file: str) -> set[str]:
    """What there are events of in a file; each whole line must be JSON."""
    found = set()
    try:
        with open(file, "rb") as opened:
            text = opened.read()
    except FileNotFoundError:
        return found
    for line in text.split(b"\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        found.add(event.get("event", event).get("subject"))
    return found


def outputs() -> None:
    """What commands write: they say which file, and leave nothing half done under its name."""
    environment = dict(os.environ, **SHIMMED)
    table, model = os.path.join(FOLDER, "table.csv"), ["--model", "arom-fast"]
    with open(table, "w") as file:
        file.write("text\n" + "ส่งช้าแต่ของดี\n" * 3000)
    chat = str(lib.ROOT / "examples/chats/parcel.txt")
    server = begin("outputs")
    Store().record(server)
    commands = {
        "table.csv": ["batch", *model, table, "--out"],
        "table.csv.gz": ["batch", *model, table, "--out"],
        "chat.html": ["chat", *model, chat, "--html"],
        "backup": ["profile", "backup", "--server", server.address],
    }
    for name, command in commands.items():
        for call, error in (("write", errno.ENOSPC), ("write", errno.EDQUOT), ("sync", errno.EIO), ("open", errno.EROFS), ("rename", errno.EIO)):
            path = os.path.join(DISK, "out", call, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            # Of a run before.
            for left in os.listdir(os.path.dirname(path)):
                os.remove(os.path.join(os.path.dirname(path), left))
            fail(call, error, "/out/")
            done = subprocess.run([lib.AROM, *command, path], env=environment, capture_output=True, text=True, cwd=lib.ROOT, timeout=120)
            heal()
            what = f"{command[0]} {name}, {call} {errno.errorcode[error]}"
            if done.returncode == 0:
                # It needs no such call.
                expect(f"{what}: it is there", os.path.getsize(path) > 0, True)
                continue
            last = (done.stderr.strip().splitlines() or [""])[-1]
            expect(f"{what}: the file and the reason are named ({last})",
                   (os.path.dirname(path) in last or "checkpoint" in last) and os.strerror(error) in last, True)
            # What a batch has written is kept, and the same command goes on from there.
            if command[0] != "batch":
                expect(f"{what}: nothing is there under its name", os.path.exists(path), False)
    stop(server)


try:
    for attack in (each_fault, upkeep, descriptors, sinks, outputs):
        if len(sys.argv) < 2 or attack.__name__ in sys.argv[1:]:
            attack()
finally:
    shutil.rmtree(FOLDER, ignore_errors=True)
lib.verdict(*faults)
