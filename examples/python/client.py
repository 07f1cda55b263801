"""Scores a file of messages with a running Arom server.

From the top of the repository:

    pip install -r examples/python/requirements.txt
    python -m grpc_tools.protoc -I proto --python_out=examples/python --grpc_python_out=examples/python proto/arom/v1/*.proto
    python examples/python/client.py 127.0.0.1:50051 examples/messages.jsonl
"""

import json
import sys

import grpc

from arom.v1 import sentiment_pb2, sentiment_service_pb2, sentiment_service_pb2_grpc

BATCH = 32
# A busy server says when to come back, and gRPC then waits that long and sends the call again by itself.
RETRY = {"methodConfig": [{"name": [{"service": "arom.v1.SentimentService"}], "retryPolicy": {
    "maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "5s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["RESOURCE_EXHAUSTED", "UNAVAILABLE"]}}]}


def main(address: str = "127.0.0.1:50051", file: str = "examples/messages.jsonl") -> None:
    with open(file, encoding="utf-8") as lines:
        messages = [json.loads(line) for line in lines]
    with grpc.insecure_channel(address, options=[("grpc.service_config", json.dumps(RETRY))]) as channel:
        client = sentiment_service_pb2_grpc.SentimentServiceStub(channel)
        for start in range(0, len(messages), BATCH):
            requests = [
                sentiment_pb2.AnalyzeSentimentRequest(
                    text=message["text"],
                    message_id=message.get("message_id", ""),
                    channel=f"CHANNEL_{message.get('channel', 'unspecified').upper()}",
                    offset_encoding=sentiment_pb2.OFFSET_ENCODING_UTF32,  # as Python counts
                )
                for message in messages[start:start + BATCH]
            ]
            batch = sentiment_service_pb2.BatchAnalyzeSentimentRequest(requests=requests)
            for result in client.BatchAnalyzeSentiment(batch, timeout=60).results:
                if result.WhichOneof("outcome") == "error":
                    print(f"{requests[result.index].message_id} error {result.error.message}")
                    continue
                answer = result.response
                label = sentiment_pb2.SentimentLabel.Name(answer.sentiment.label)
                label = label.removeprefix("SENTIMENT_LABEL_").lower()
                print(f"{answer.message_id} {label:<9} {answer.sentiment.score:+.2f} {requests[result.index].text}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
