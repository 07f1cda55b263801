"""Shows why a message has its score: its clauses, what it speaks of, and what each word adds.

Set up as client.py says; then, from the top of the repository:

    python examples/python/explain.py 127.0.0.1:50051 'อาหารอร่อย 😍 แต่พนักงานพูดไม่ดีเลย'

Offsets are asked for in UTF-16 code units, as JavaScript, Java and LINE count: a program in Python alone would ask for
OFFSET_ENCODING_UTF32 and slice its strings.
"""

import sys

import grpc

from arom.v1 import sentiment_pb2, sentiment_service_pb2_grpc

BYTES_PER_UNIT = 2


def part(units: bytes, span: sentiment_pb2.TextSpan) -> str:
    """The part of a text, given in UTF-16, that a span names."""
    return units[span.begin_offset * BYTES_PER_UNIT:span.end_offset * BYTES_PER_UNIT].decode("utf-16-le")


def main(address: str, text: str) -> None:
    request = sentiment_pb2.AnalyzeSentimentRequest(
        text=text,
        offset_encoding=sentiment_pb2.OFFSET_ENCODING_UTF16,
        features=sentiment_pb2.AnalysisFeatures(clauses=True, targets=True, explanation=True),
    )
    with grpc.insecure_channel(address) as channel:
        client = sentiment_service_pb2_grpc.SentimentServiceStub(channel)
        answer = client.AnalyzeSentiment(request, timeout=60)
    units = text.encode("utf-16-le")
    label = sentiment_pb2.SentimentLabel.Name(answer.sentiment.label).removeprefix("SENTIMENT_LABEL_").lower()
    print(f"{label} {answer.sentiment.score:+.2f}{' (unsure)' if answer.sentiment.abstain else ''}")
    for clause in answer.clauses:
        print(f"  clause {clause.sentiment.score:+.2f} {part(units, clause.span)}")
    for mention in answer.target_mentions:
        of = f"{mention.display_name} ({part(units, mention.span)})"
        against = "against " if mention.compared else ""
        print(f"  target {mention.sentiment.score:+.2f} {of}: {against}{part(units, mention.statement)}")
    for word in answer.explanation.contributions:
        decided = " decided the label" if word.decisive else ""
        print(f"  word   {word.contribution:+.2f} {part(units, word.span)}{decided}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
