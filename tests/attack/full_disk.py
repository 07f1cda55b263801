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
from recorder import Store, expect, faults, health, start, stop, within

if os.geteuid() != 0:
    sys.exit("needs root, to mount a small disk")


def readiness(server: lib.Server) -> int:
    try:
        with urllib.request.urlopen(f"{server.page}/readyz", timeout=5) as page:
            return page.status
    except urllib.error.HTTPError as error:
        return error.code


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
lib.verdict(*faults)
