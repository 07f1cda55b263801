"""What the attacks share: the Python packages and stubs, and a server to attack.

Import it first: it puts the packages and stubs on the path, and installs them into target/attack when they are missing.
"""

import json
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
AROM = ROOT / "target/release/arom"
REQUIREMENTS = ROOT / "examples/python/requirements.txt"


def prepare() -> None:
    home = ROOT / "target/attack"
    packages, stubs, marker = home / "python", home / "stubs", home / "requirements.txt"
    wanted = REQUIREMENTS.read_text()
    if not marker.exists() or marker.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade",
                        "--target", packages, "-r", REQUIREMENTS], check=True)
        marker.write_text(wanted)
    stubs.mkdir(parents=True, exist_ok=True)
    sys.path[:0] = [str(packages), str(stubs)]
    protos = [path.relative_to(ROOT / "proto") for path in (ROOT / "proto").rglob("arom/v1/*.proto")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", "proto", f"--python_out={stubs}", f"--grpc_python_out={stubs}"]
    subprocess.run(command + [str(path) for path in protos], check=True, cwd=ROOT, env={"PYTHONPATH": str(packages)})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Server:
    """An `arom serve` process. As a context manager it is killed at the end."""

    def __init__(self, *args: str, grpc: int = 0, http: int = 0):
        self.grpc, self.http = grpc or free_port(), http or free_port()
        self.address, self.page = f"127.0.0.1:{self.grpc}", f"http://127.0.0.1:{self.http}"
        self.args, self.log = args, []
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [AROM, "serve", "--listen", self.address, "--http-listen", f"127.0.0.1:{self.http}", *self.args],
            stderr=subprocess.PIPE, text=True)
        # A pipe that nobody reads would stop the server.
        threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True).start()
        until(self.is_ready, 120, "the server is not ready: " + "".join(self.log[-20:]))

    def _read(self, pipe) -> None:
        self.log.extend(pipe)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.page}/readyz", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        with urllib.request.urlopen(f"{self.page}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def until(so, seconds: float, complaint: str) -> None:
    end = time.monotonic() + seconds
    while not so():
        if time.monotonic() > end:
            sys.exit(complaint)
        time.sleep(0.05)


def service_config(attempts: int) -> str:
    """A retry policy as a gRPC service config."""
    policy = {"maxAttempts": attempts, "initialBackoff": "0.1s", "maxBackoff": "5s", "backoffMultiplier": 2,
              "retryableStatusCodes": ["RESOURCE_EXHAUSTED", "UNAVAILABLE"]}
    return json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})


prepare()
