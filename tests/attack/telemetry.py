"""Does a server phone home? ONNX Runtime's telemetry may wait a minute before it sends, so the server is watched for longer.

    python3 tests/attack/telemetry.py [SECONDS]

Needs strace, which shows every socket of the server. It may listen on this machine, and nothing else. Prints what went out, and
what was written into its home folder. Fails if either is anything.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lib

SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 75

port = lib.free_port()
with tempfile.TemporaryDirectory() as folder:
    home = Path(folder)
    trace = home / "trace"
    command = ["strace", "-f", "-qq", "-e", "trace=%network", "-o", trace, lib.AROM, "serve", "--listen", f"127.0.0.1:{port}"]
    # Without the variable that keeps telemetry off.
    variables = {"PATH": os.environ["PATH"], "HOME": folder, "TMPDIR": folder}
    tracer = subprocess.Popen(command, env=variables, cwd=lib.ROOT, stderr=subprocess.DEVNULL)
    lib.until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, 60, "the server does not listen")
    time.sleep(SECONDS)
    # The server itself: strace would leave it alone.
    server = Path(f"/proc/{tracer.pid}/task/{tracer.pid}/children").read_text().split()[0]
    os.kill(int(server), signal.SIGTERM)
    ended = tracer.wait(60)
    calls = trace.read_text().splitlines()
    written = [path for path in home.rglob("*") if path != trace]

outward = [call for call in calls
           if "connect(" in call or any(kind in call for kind in ("SOCK_DGRAM", "AF_INET6", "AF_NETLINK"))]
print(f"{SECONDS} s: {len(calls)} network calls, {len(outward)} of them outward; files in the home folder: {len(written)}")
for line in [*outward[:10], *map(str, written)]:
    print("  ", line)
sys.exit(bool(outward or written or ended))
