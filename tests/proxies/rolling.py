"""Restarts two servers one after the other under steady load: no call may fail.

    python3 tests/proxies/rolling.py [nginx] [haproxy] [client]

Behind nginx and HAProxy, with the configurations of examples/, and with a client that balances itself (gRPC's round_robin with
health checks). In each case there are clients without a retry policy and clients with one retry, single calls and
streams. Needs nginx and HAProxy: tests/proxies/install.sh.
"""

import collections
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "attack"))
import lib

import grpc
from arom.v1 import sentiment_pb2, sentiment_service_pb2, sentiment_service_pb2_grpc

CALLERS, STREAMS = 6, 2
STREAM_TEXTS, STREAM_PAUSE = 30, 0.02
# The servers are told to stop this long before they close their ports.
DELAY_SECONDS = 2


def configured(example: str, servers: list, port: int) -> str:
    """An example with the ports of this test."""
    text = (lib.ROOT / "examples" / example).read_text()
    places = {"127.0.0.1:8080": f"127.0.0.1:{port}"}
    for server, (grpc_port, http_port) in zip(servers, [("50051", "9464"), ("50052", "9465")]):
        places |= {f"127.0.0.1:{grpc_port}": server.address, f"port {http_port}": f"port {server.http}"}
    for old, new in places.items():
        text = text.replace(old, new)
    assert servers[0].address in text and servers[1].address in text and f":{port}" in text, text
    return text


def nginx(servers: list, port: int, folder: pathlib.Path) -> subprocess.Popen:
    config = folder / "nginx.conf"
    config.write_text(configured("nginx/arom.conf", servers, port))
    (folder / "logs").mkdir()
    return subprocess.Popen(["nginx", "-e", folder / "error.log", "-p", folder, "-c", config,
                             "-g", f"daemon off; pid {folder}/pid; error_log {folder}/error.log;"],
                            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})


def haproxy(servers: list, port: int, folder: pathlib.Path) -> subprocess.Popen:
    config = folder / "haproxy.cfg"
    config.write_text(configured("haproxy/arom.cfg", servers, port))
    return subprocess.Popen(["haproxy", "-q", "-db", "-f", config], env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})


class Load:
    """Callers and streams over channels of one kind, until they are told to end."""

    def __init__(self, target: str, retry: bool, balanced: bool):
        config = json.loads(lib.service_config(2)) if retry else {}
        if balanced:
            config |= {"loadBalancingConfig": [{"round_robin": {}}],
                       "healthCheckConfig": {"serviceName": "arom.v1.SentimentService"}}
        options = [("grpc.service_config", json.dumps(config)), ("grpc.use_local_subchannel_pool", 1),
                   ("grpc.default_authority", "arom"), ("grpc.min_reconnect_backoff_ms", 100),
                   ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
        self.name = "one retry" if retry else "no retry"
        self.ends, self.failures, self.over = collections.Counter(), [], threading.Event()
        self.channel = grpc.insecure_channel(target, options=options)
        self.service = sentiment_service_pb2_grpc.SentimentServiceStub(self.channel)
        self.service.AnalyzeSentiment(self.text(), wait_for_ready=True, timeout=20)
        work = [self.call] * CALLERS + [self.stream] * STREAMS
        self.threads = [threading.Thread(target=self.repeat, args=(one,)) for one in work]
        self.began = time.monotonic()
        for thread in self.threads:
            thread.start()

    @staticmethod
    def text() -> sentiment_pb2.AnalyzeSentimentRequest:
        return sentiment_pb2.AnalyzeSentimentRequest(text=f"ส่งไวมาก {random.getrandbits(40)}")

    def repeat(self, one) -> None:
        while not self.over.is_set():
            try:
                one()
                self.ends["OK"] += 1
            except grpc.RpcError as error:
                self.ends[f"{one.__name__} {error.code().name}"] += 1
                self.failures.append(f"{time.monotonic() - self.began:.2f} s: {error.details()[:120]}")
            # A steady load, not a full one.
            time.sleep(0.02)

    def call(self) -> None:
        self.service.AnalyzeSentiment(self.text(), timeout=20)

    def stream(self) -> None:
        def texts():
            for _ in range(STREAM_TEXTS):
                yield sentiment_service_pb2.StreamAnalyzeSentimentRequest(request=self.text())
                time.sleep(STREAM_PAUSE)
        answers = sum(1 for _ in self.service.StreamAnalyzeSentiment(texts(), timeout=60))
        if answers != STREAM_TEXTS:
            self.ends[f"stream of {answers} answers"] += 1

    def end(self, proxy: str) -> bool:
        """Whether every call and stream went well."""
        self.over.set()
        for thread in self.threads:
            thread.join()
        self.channel.close()
        failed = sum(self.ends.values()) - self.ends["OK"]
        print(f"{proxy}, {self.name}: {self.ends['OK']} calls and streams, {failed} failed", flush=True)
        for failure in [name for name in self.ends if name != "OK"] + self.failures[:5]:
            print(f"    {failure}")
        return failed == 0 and self.ends["OK"] > 100


def restart(server: lib.Server) -> float:
    began = time.monotonic()
    server.terminate()
    code = server.process.wait(timeout=60)
    took = time.monotonic() - began
    if code != 0:
        sys.exit(f"the server ended with {code}: " + "".join(server.log[-10:]))
    server.start()
    time.sleep(1.5)
    return took


def case(proxy: str, servers: list) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        port, process = lib.free_port(), None
        target = f"127.0.0.1:{port}"
        if proxy == "client":
            target = "ipv4:" + ",".join(server.address for server in servers)
        else:
            # nginx's workers are of another user.
            pathlib.Path(folder).chmod(0o755)
            process = {"nginx": nginx, "haproxy": haproxy}[proxy](servers, port, pathlib.Path(folder))
        try:
            loads = [Load(target, retry, proxy == "client") for retry in (False, True)]
            time.sleep(1)
            took = [restart(server) for server in servers]
            well = [load.end(proxy) for load in loads]
            print(f"{proxy}: the servers stopped in {took[0]:.1f} and {took[1]:.1f} s", flush=True)
            return all(well)
        finally:
            if process:
                process.terminate()
                process.wait()


def main() -> None:
    cases = [arg for arg in sys.argv[1:] if not arg.startswith("-")] or ["nginx", "haproxy", "client"]
    flags = [arg for arg in sys.argv[1:] if arg.startswith("-")] or ["--shutdown-delay-seconds", str(DELAY_SECONDS)]
    flags = [word for flag in flags for word in flag.split("=")]
    with lib.Server("--workers", "1", *flags) as one, lib.Server("--workers", "1", *flags) as two:
        well = [case(proxy, [one, two]) for proxy in cases]
    if not all(well):
        sys.exit("calls failed")


if __name__ == "__main__":
    main()
