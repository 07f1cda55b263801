"""What the attacks share: the Python packages and stubs, and a server to attack.

Import it first: it puts the packages and stubs on the path, and installs them into target/attack when they are missing.
"""

import json
import os
import pathlib
import resource
import signal
import socket
import struct
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
    if os.environ.get("AROM_ATTACK_PREPARED"):
        # A process of an attack: its parent has made the stubs, and may be reading them.
        return
    os.environ["AROM_ATTACK_PREPARED"] = "1"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", "proto", f"--python_out={stubs}", f"--grpc_python_out={stubs}"]
    subprocess.run(command + [str(path) for path in protos], check=True, cwd=ROOT, env={"PYTHONPATH": str(packages)})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Server:
    """An `arom serve` process; with `files`, one that may have so many files open. As a context manager it is killed at the end."""

    def __init__(self, *args: str, grpc: int = 0, http: int = 0, files: int = 0):
        self.files = files
        self.grpc, self.http = grpc or free_port(), http or free_port()
        self.address, self.page = f"127.0.0.1:{self.grpc}", f"http://127.0.0.1:{self.http}"
        self.args, self.log = args, []
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [AROM, "serve", "--listen", self.address, "--http-listen", f"127.0.0.1:{self.http}", *self.args],
            stderr=subprocess.PIPE, text=True, preexec_fn=self._limit if self.files else None)
        # A pipe that nobody reads would stop the server.
        threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True).start()
        until(lambda: self.is_ready() or self.process.poll() is not None, 120, "the server is not ready")
        if self.process.poll() is not None:
            sys.exit("the server ended: " + "".join(self.log[-20:]))

    def _limit(self) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.files, self.files))

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

    def memory_mib(self) -> float:
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu_seconds(self) -> float:
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

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


class Innocent:
    """A client that minds its own business in a process of its own: one call after the other, and one long stream."""

    def __init__(self, server: Server):
        self.answered, self.failures, self.slowest, self.said = 0, [], 0.0, ""
        self.process = subprocess.Popen([sys.executable, __file__, server.address], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()

    def stop(self) -> str:
        """What it has seen, in words."""
        if not self.said:
            seen = json.loads(self.process.communicate()[0])
            self.answered, self.failures, self.slowest = seen["answered"], seen["failures"], seen["slowest"]
            self.said = (f"innocent client: {self.answered} answered, {len(self.failures)} failed, "
                         f"slowest call {self.slowest:.2f} s")
        return self.said


def innocent(address: str) -> None:
    """Calls until its input ends, then prints what it has seen."""
    import grpc
    from arom.v1 import sentiment_pb2 as pb
    from arom.v1 import sentiment_service_pb2 as service_pb
    from arom.v1 import sentiment_service_pb2_grpc as stubs

    stopped, failures, answered, slowest = threading.Event(), [], 0, 0.0
    threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
    with grpc.insecure_channel(address) as channel:
        client = stubs.SentimentServiceStub(channel)

        def streamed():
            while not stopped.wait(0.05):
                yield service_pb.StreamAnalyzeSentimentRequest(request=pb.AnalyzeSentimentRequest(text="ส่งไวมาก"))

        def stream():
            nonlocal answered
            try:
                for _ in client.StreamAnalyzeSentiment(streamed()):
                    answered += 1
            except grpc.RpcError as error:
                failures.append(f"stream: {error.code().name} {error.details()}")

        streaming = threading.Thread(target=stream, daemon=True)
        streaming.start()
        print("begun", flush=True)
        number = 0
        while not stopped.is_set():
            number += 1
            begun = time.monotonic()
            try:
                client.AnalyzeSentiment(pb.AnalyzeSentimentRequest(text=f"ของดี {number}"), timeout=20)
                answered += 1
            except grpc.RpcError as error:
                failures.append(f"call: {error.code().name} {error.details()}")
            slowest = max(slowest, time.monotonic() - begun)
            time.sleep(0.01)
        streaming.join(10)
    print(json.dumps({"answered": answered, "failures": failures, "slowest": slowest}))


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
NO_SETTINGS = struct.pack(">I", 0)[1:] + bytes([SETTINGS, 0, 0, 0, 0, 0])


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def field(name: str, value: str) -> bytes:
    """A literal that is not put into the table; both shorter than 16,384 bytes."""

    def text(of: str) -> bytes:
        data = of.encode()
        if len(data) < 127:
            return bytes([len(data)]) + data
        rest = len(data) - 127
        return bytes([127, rest % 128 | 128, rest // 128]) + data

    return b"\0" + text(name) + text(value)


def headers(path: str, content_type: str = "application/grpc", *more: tuple[str, str]) -> bytes:
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "arom"),
              ("content-type", content_type), ("te", "trailers"), *more]
    return b"".join(field(name, value) for name, value in fields)


def message(bytes_: bytes) -> bytes:
    return b"\0" + struct.pack(">I", len(bytes_)) + bytes_


class Raw:
    """A client that sends what it likes and keeps what it reads as frames."""

    def __init__(self, server: Server, settings: bytes = NO_SETTINGS, preface: bytes = PREFACE, source: str = "127.0.0.1"):
        self.socket = socket.create_connection(("127.0.0.1", server.grpc), source_address=(source, 0))
        self.frames, self.unread, self.closed = [], b"", False
        self.send(preface + settings)

    def send(self, data: bytes, seconds: float = 5) -> bool:
        """Whether all of it was taken."""
        self.socket.settimeout(seconds)
        try:
            self.socket.sendall(data)
            return True
        except TimeoutError:
            return False
        except OSError:
            self.closed = True
            return False

    def read(self, seconds: float = 1) -> list:
        """Reads until it is closed or the time is over: (type, flags, stream, payload) of all frames so far."""
        end = time.monotonic() + seconds
        while not self.closed and (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                break
            except OSError:
                data = b""
            self.closed = not data
            self.unread += data
            while len(self.unread) >= 9:
                length = int.from_bytes(self.unread[:3], "big")
                if len(self.unread) < 9 + length:
                    break
                kind, flags, stream = self.unread[3], self.unread[4], int.from_bytes(self.unread[5:9], "big")
                self.frames.append((kind, flags, stream, self.unread[9:9 + length]))
                self.unread = self.unread[9 + length:]
        return self.frames

    def goaway(self) -> str | None:
        """The code and text of the last GOAWAY, if there was one."""
        for kind, _, _, payload in reversed(self.frames):
            if kind == GOAWAY:
                return f"{int.from_bytes(payload[4:8], 'big')} {payload[8:].decode(errors='replace')}".strip()
        return None

    def close(self) -> None:
        self.socket.close()


def verdict(*faults: str | None) -> None:
    """Ends the attack: each fault that is not None is one way in which it succeeded."""
    found = [fault for fault in faults if fault]
    for fault in found:
        print(f"SUCCEEDED: {fault}")
    if not found:
        print("withstood")
    sys.exit(1 if found else 0)


prepare()

if __name__ == "__main__":
    innocent(sys.argv[1])
