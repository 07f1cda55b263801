"""The calls of cases.json by grpcio and by `buf curl`, which know the server by reflection alone.

    python tests/clients/cases.py ADDRESS            with grpcio and grpcio-reflection
    python tests/clients/cases.py ADDRESS PATH_TO_BUF

Each call ends with its code, and its whole answer, or its whole error with details, is printed as JSON and searched for
what the case wants.
"""

import base64
import datetime
import json
import subprocess
import sys
from pathlib import Path

CASES = Path(__file__).with_name("cases.json")


def cases() -> list[dict]:
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.loads(CASES.read_text("utf-8").replace('"NOW"', f'"{now}"'))


def by_grpcio(address: str):
    import grpc
    from google.protobuf import descriptor_pool, json_format, message_factory
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    channel = grpc.insecure_channel(address)
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    shown = lambda message: json_format.MessageToJson(
        message, preserving_proto_field_name=True, ensure_ascii=False, descriptor_pool=pool)
    kind = lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name))

    def call(case: dict) -> tuple[str, str]:
        service, name = case["method"].split("/")
        method = pool.FindServiceByName(service).FindMethodByName(name)
        request, answer = kind(method.input_type.full_name), kind(method.output_type.full_name)
        requests = [json_format.ParseDict(fields, request(), descriptor_pool=pool) for fields in case["requests"]]
        shape = ("stream" if method.client_streaming else "unary") + ("_stream" if method.server_streaming else "_unary")
        stub = getattr(channel, shape)(
            f"/{case['method']}", request_serializer=request.SerializeToString, response_deserializer=answer.FromString)
        try:
            given = stub(iter(requests) if method.client_streaming else requests[0], timeout=60)
            answers = []
            for message in given if method.server_streaming else [given]:
                answers.append(shown(message))
                if len(answers) == case.get("take"):
                    given.cancel()
                    break
            return "OK", "\n".join(answers)
        except grpc.RpcError as error:
            details = dict(error.trailing_metadata()).get("grpc-status-details-bin", b"")
            return error.code().name, shown(kind("google.rpc.Status").FromString(details))

    return call


def by_buf(address: str, buf: str):
    def call(case: dict) -> tuple[str, str] | None:
        if "take" in case:
            return None  # it would wait for more
        data = "\n".join(json.dumps(fields) for fields in case["requests"])
        done = subprocess.run(
            [buf, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--data", "@-",
             f"http://{address}/{case['method']}"], input=data, capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            return "OK", done.stdout
        error = json.loads(done.stderr)
        # Connect's errors have their details as base64, whose strings can be read as they are.
        details = [base64.b64decode(detail["value"] + "==") for detail in error.get("details", [])]
        return error["code"].upper(), done.stderr + "".join(detail.decode("utf-8", "replace") for detail in details)

    return call


def spaced(text: str) -> str:
    """Field names as the protos have them, whichever way the client spells them."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in text)


def main(address: str, *buf: str) -> None:
    call = by_buf(address, *buf) if buf else by_grpcio(address)
    wrong = count = 0
    for case in cases():
        seen = call(case)
        if seen is None:
            continue
        code, shown = seen
        count += 1
        missing = [word for word in case["wants"] if word not in shown and spaced(word) not in spaced(shown)]
        if code != case.get("code", "OK") or missing:
            wrong += 1
            print(f"{case['method']} {case['requests']}: {code}, without {missing} in\n{shown}", file=sys.stderr)
    assert not wrong, f"{wrong} of {count} calls went wrong"
    print(f"{count} calls: ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
