"""grpcio against the life of a connection: its age, cancelled calls beside a stream, and a target of several addresses.

    python tests/python/connections.py age|cancelled|addresses HOST:PORT [HOST:PORT]

`age` expects a server with --max-connection-age-seconds 1 and --max-connection-age-grace-seconds 3.
"""

import asyncio
import sys
import threading
import time

import grpc
from arom.v1 import sentiment_pb2 as pb
from arom.v1 import sentiment_service_pb2 as service_pb
from arom.v1 import sentiment_service_pb2_grpc as stubs

GRACE = 3
# What a server does must not be hidden by a client that tries again.
NO_RETRIES = ("grpc.enable_retries", 0)


def request(text: str) -> pb.AnalyzeSentimentRequest:
    return pb.AnalyzeSentimentRequest(text=text)


def age(address: str) -> None:
    """The long stream goes on until the grace ends, and no unary call fails."""
    ended = threading.Event()
    # Its retries stay on: without them C core fails a call that it has not sent when GOAWAY comes. A call that a server has seen
    # is not tried again without a policy.
    with grpc.insecure_channel(address) as channel:
        client = stubs.SentimentServiceStub(channel)
        client.AnalyzeSentiment(request("เริ่ม"), timeout=60)
        answered, failures = 0, []

        def unary(caller: int) -> None:
            nonlocal answered
            while not ended.is_set():
                try:
                    client.AnalyzeSentiment(request(f"ดี {caller} {answered}"), timeout=60)
                    answered += 1
                except grpc.RpcError as error:
                    failures.append(f"{error.code().name}: {error.details()}")

        callers = [threading.Thread(target=unary, args=(caller,)) for caller in range(8)]
        for caller in callers:
            caller.start()

        def texts():
            while not ended.is_set():
                yield service_pb.StreamAnalyzeSentimentRequest(request=request("ช้าแต่ชัวร์"))
                time.sleep(0.05)

        begun, streamed, end = time.monotonic(), 0, "it ended without an error"
        try:
            for _ in client.StreamAnalyzeSentiment(texts()):
                streamed += 1
        except grpc.RpcError as error:
            end = error.code().name
        lasted = time.monotonic() - begun
        ended.set()
        for caller in callers:
            caller.join()
    assert not failures, failures[:5]
    # How many is a matter of the machine.
    assert answered and streamed, (answered, streamed)
    # The server times it from the GOAWAY. On a busy machine the stream may begin while that is on its way.
    assert lasted >= GRACE / 2 and end == "UNAVAILABLE", (lasted, end)
    print(f"age: ok: {answered} unary calls, none failed; the stream gave {streamed} answers in {lasted:.1f} s")


async def _cancelled(address: str) -> None:
    async with grpc.aio.insecure_channel(address, [NO_RETRIES]) as channel:
        client = stubs.SentimentServiceStub(channel)
        await client.AnalyzeSentiment(request("เริ่ม"), timeout=60)
        stream = client.StreamAnalyzeSentiment()

        async def streamed(message_id: str) -> None:
            text = pb.AnalyzeSentimentRequest(text="รออยู่", message_id=message_id)
            await stream.write(service_pb.StreamAnalyzeSentimentRequest(request=text))
            answer = await stream.read()
            assert answer is not grpc.aio.EOF, (await stream.code(), await stream.details())
            assert answer.message_id == message_id

        await streamed("before")
        unavailable = []

        async def short(number: int, timeout: float) -> None:
            try:
                await client.AnalyzeSentiment(request(f"รีบมาก {number} {timeout}"), timeout=timeout)
            except grpc.aio.AioRpcError as error:
                # Late or without room is an answer; a broken connection is not.
                if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL):
                    unavailable.append(error.details())

        for timeout in (0.001, 0.01, 0.1):
            await asyncio.gather(*(short(number, timeout) for number in range(2_000)))
            await streamed(f"after deadlines of {timeout}")
        for _ in range(4):
            calls = [client.AnalyzeSentiment(request(f"ไม่เอาแล้ว {number}")) for number in range(500)]
            await asyncio.sleep(0.01)
            for call in calls:
                call.cancel()
        await streamed("after cancelled calls")
        assert not unavailable, (len(unavailable), unavailable[:3])
        stream.cancel()
    print("cancelled: ok: 6,000 short deadlines and 2,000 cancelled calls beside a stream")


def addresses(*servers: str) -> None:
    for target in (f"ipv4:{','.join(servers)}", f"ipv4:{servers[0]}"):
        for policy in ("pick_first", "round_robin"):
            options = [NO_RETRIES, ("grpc.lb_policy_name", policy), ("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(target, options) as channel:
                stubs.SentimentServiceStub(channel).AnalyzeSentiment(request("ดี"), timeout=60)
    for authority in ("arom", "a_b.c", "my service", "ไทย", "a:1,b:2"):
        with grpc.insecure_channel(servers[0], [NO_RETRIES, ("grpc.default_authority", authority)]) as channel:
            stubs.SentimentServiceStub(channel).AnalyzeSentiment(request("ดี"), timeout=60)
    print("addresses: ok")


if __name__ == "__main__":
    what, *servers = sys.argv[1:]
    {"age": age, "cancelled": lambda address: asyncio.run(_cancelled(address)), "addresses": addresses}[what](*servers)
