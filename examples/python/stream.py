"""Scores lines as they come, and prints each answer as soon as it is there.

Set up as client.py says; then, from the top of the repository:

    tail -f comments.txt | python examples/python/stream.py 127.0.0.1:50051
"""

import sys

import grpc

from arom.v1 import sentiment_pb2, sentiment_service_pb2, sentiment_service_pb2_grpc


def requests(texts: dict[str, str]):
    """One request a line. gRPC reads on only while the server has room for more, so this never runs far ahead."""
    for number, line in enumerate(sys.stdin):
        text = texts[str(number)] = line.rstrip("\n")
        request = sentiment_pb2.AnalyzeSentimentRequest(text=text, message_id=str(number))
        yield sentiment_service_pb2.StreamAnalyzeSentimentRequest(request=request)


def main(address: str = "127.0.0.1:50051") -> None:
    texts: dict[str, str] = {}
    with grpc.insecure_channel(address) as channel:
        client = sentiment_service_pb2_grpc.SentimentServiceStub(channel)
        for answer in client.StreamAnalyzeSentiment(requests(texts)):
            text = texts.pop(answer.message_id)
            if answer.WhichOneof("outcome") == "error":
                print(f"{'error':<9}       {answer.error.message}: {text}", flush=True)
                continue
            sentiment = answer.response.sentiment
            label = sentiment_pb2.SentimentLabel.Name(sentiment.label).removeprefix("SENTIMENT_LABEL_").lower()
            print(f"{label:<9} {sentiment.score:+.2f} {text}", flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
    except KeyboardInterrupt:
        sys.exit(130)
