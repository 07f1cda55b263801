"""Texts made to be expensive: does the work on one grow faster than its length?

Each shape is analysed with everything turned on, as 16, 32 and 64 KiB (the limit of a text): the time a byte must not grow.
Names beside a shape are shapes of the same kind. `arom score`, `batch` and `chat` then read all of them at once, short and long.
Another client is answered meanwhile.
"""

import json
import pathlib
import subprocess
import tempfile
import time

from lib import AROM, Innocent, Server, verdict

import grpc
from arom.v1 import sentiment_pb2 as pb
from arom.v1 import sentiment_service_pb2_grpc as stubs

LIMIT = 65_536
SIZES = [LIMIT // 4, LIMIT // 2, LIMIT]
# A quadratic step makes 4 of it; other work on the machine makes 2 at times, so it is tried again.
WORST = 2.5
TRIES = 3
PATIENCE = 60.0
BRANDS = 4000
SMILES = "".join(chr(0x1F600 + number) for number in range(64))

# The head of a text and what is repeated after it.
SHAPES = {
    "ambiguous words": ("ศาลาลูกขุน", "นอกรอบ"),
    "ambiguous words without an end": ("", "อิ"),
    "words that begin others": ("", "ตากลมกลมตา"),
    "no dictionary word": ("", "ฅฆฌฎ"),
    "tone marks alone": ("", "่้๊๋"),
    "vowel signs alone": ("", "ิีึื"),
    "combining marks of one letter": ("a", "\u0301\u0302\u0303"),
    "one cluster of Thai marks": ("ก", "ิุ่้"),
    "Indic conjuncts": ("", "क्"),
    "emoji joined by ZWJ": ("", "👩\u200d"),
    "families": ("", "👨\u200d👩\u200d👧\u200d👦"),
    "flags": ("", "🇹🇭"),
    "emoji of all kinds": ("", SMILES),
    "emoji between spaces": ("", SMILES + " "),
    "zero-width characters": ("ดี", "\u200b\u200d\u2060"),
    "variation selectors": ("", "❤\ufe0f"),
    "spaces": ("ดี", "  \t"),
    "line breaks": ("", "ดี\n"),
    "letters one by one": ("", "ก "),
    "clauses of a word": ("", "ดีค่ะ "),
    "clauses with but": ("", "แต่ดี"),
    "no space at all": ("", "อาหารอร่อยพนักงานน่ารัก"),
    "a stretched letter": ("ดีม", "า"),
    "stretched letters": ("", "มากกกกดีีีี"),
    "laughter": ("", "555"),
    "broken laughter": ("", "haha"),
    "digits": ("", "0812345678"),
    "digits apart": ("", "08-"),
    "telephone numbers that are not": ("", "+66-"),
    "more telephone numbers that are not": ("", "0.8 "),
    "at signs": ("", "@"),
    "mentions that are not": ("", "a@b_"),
    "a long mention": ("@", "ab_"),
    "e-mails that are not": ("", "a.b@c"),
    "an e-mail without an end": ("a@b", ".c"),
    "dots": ("", "."),
    "addresses that are not": ("", "www"),
    "an address without an end": ("http://a", "..;"),
    "slashes": ("", "a.co/"),
    "entities": ("", "&amp;"),
    "entities inside entities": ("&", "amp;"),
    "numeric entities": ("", "&#x0E01;"),
    "Hebrew and Arabic": ("", "שלוםمرحبا"),
    "directions": ("", "\u202eดี\u202c"),
    "capital letters": ("", "İẞ"),
    "a mention of one aspect": ("", "ราคา"),
    "mentions of aspects": ("", "ราคาแพงอาหารอร่อย"),
    "comparisons": ("", "ดีกว่าราคา"),
    "comparisons that go on": ("", "เปลี่ยนจากราคา"),
    "words before a verb": ("", "มีไม่ได้"),
    "questions": ("", "มีอะไร"),
    "placeholders": ("", "[รูป]"),
    "masks": ("", "<url>"),
    "Latin letters": ("", "abcdefgh"),
    "Latin words": ("", "the "),
    "Chinese": ("", "好不好"),
}


def text(head: str, repeated: str, size: int) -> str:
    return (head + repeated * (size // len(repeated.encode()) + 1)).encode()[:size].decode(errors="ignore")


def shapes(size: int):
    for name, (head, repeated) in SHAPES.items():
        yield name, text(head, repeated, size)
    # Every brand of the catalogue, each of which begins the next ones of its ten.
    for name, beside in [("brands", " "), ("brands that are praised", "ดี "), ("brands compared", "กว่า")]:
        yield name, "".join(f"ร้าน{number}{beside}" for number in range(BRANDS)).encode()[:size].decode(errors="ignore")


def analyse(client, content: str) -> float:
    features = pb.AnalysisFeatures(clauses=True, targets=True, modifiers=True, explanation=True, intent=True,
                                   max_explanation_inferences=16)
    request = pb.AnalyzeSentimentRequest(text=content, features=features, offset_encoding=pb.OFFSET_ENCODING_UTF16)
    begun = time.monotonic()
    try:
        client.AnalyzeSentiment(request, timeout=PATIENCE)
    except grpc.RpcError as error:
        # An answer over the limit is refused, after the text was read.
        if error.code() not in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise SystemExit(f"{error.code().name}: {error.details()}")
    return time.monotonic() - begun


def over_grpc(catalogue: pathlib.Path) -> str | None:
    worst, slow = {}, []
    with Server("--model", "arom-fast", "--catalogue", str(catalogue), "--cache-bytes", "0") as server, \
            grpc.insecure_channel(server.address) as channel:
        client = stubs.SentimentServiceStub(channel)
        innocent = Innocent(server)
        for name, longest in shapes(LIMIT):
            for _ in range(TRIES):
                took = {size: analyse(client, longest.encode()[:size].decode(errors="ignore")) for size in SIZES}
                least, most = (took[size] / size for size in (SIZES[0], SIZES[-1]))
                worst[name] = min(worst.get(name, 1e9), most / max(least, 1e-7))
                if took[LIMIT] >= PATIENCE:
                    slow.append(f"{name} (not done)")
                    break
                if worst[name] <= WORST or took[LIMIT] < 0.5:
                    break
            else:
                slow.append(name)
            print(f"{name:36} {' '.join(f'{took[size]:7.3f} s' for size in SIZES)}   a byte: times {worst[name]:.2f}", flush=True)
        print(innocent.stop())
        print(f"memory {server.memory_mib():.0f} MiB")
    if innocent.failures or innocent.slowest > 15:
        return f"another client suffers: {innocent.said} {innocent.failures[:2]}"
    return f"work grows faster than the text: {', '.join(slow)}" if slow else None


def over_command_line(catalogue: pathlib.Path, folder: pathlib.Path) -> str | None:
    """Whole runs: all shapes as texts of 4 KiB, and as texts of 16 KiB, must take times of the ratio of their bytes."""
    def run(command: str, size: int) -> float:
        file = folder / f"{command}-{size}.jsonl"
        texts = [content for _, content in shapes(size)]
        rows = [{"text": content.replace("\n", " ")} for content in texts]
        if command == "chat":
            rows = [{"role": "customer", "text": content, "speaker": "a", "time": f"2026-01-01T00:{at:02}:00Z"}
                    for at, content in enumerate(texts[:60])]
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        arguments = {
            "score": ["score", "--json", "--clauses", "--targets", "--modifiers", "--intent", "--explain", "--input", str(file)],
            "batch": ["batch", str(file), "--targets", "--out", str(folder / f"{command}-{size}.csv")],
            "chat": ["chat", str(file), "--json"],
        }[command]
        settings = ["--model", "arom-fast", "--catalogue", str(catalogue), "--cache-bytes", "0"]
        begun = time.monotonic()
        done = subprocess.run([AROM, *settings, *arguments], capture_output=True, text=True, timeout=600)
        if done.returncode not in (0, 1):
            raise SystemExit(f"arom {command}: {done.stderr[-500:]}")
        return time.monotonic() - begun

    slow = []
    for command in ("score", "batch", "chat"):
        none, short, long = (run(command, size) for size in (1, 4096, 16_384))
        ratio = (long - none) / max(short - none, 0.2) / 4
        print(f"arom {command:6} {short:7.2f} s {long:7.2f} s   a byte: times {ratio:.2f}", flush=True)
        if ratio > WORST:
            slow.append(command)
    return f"arom {', '.join(slow)}: work grows faster than the texts" if slow else None


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        folder = pathlib.Path(home)
        catalogue = folder / "brands.toml"
        catalogue.write_text("".join(f'[[brands]]\nid = "b{number}"\naliases = ["ร้าน{number}"]\n' for number in range(BRANDS)))
        verdict(over_grpc(catalogue), over_command_line(catalogue, folder))


if __name__ == "__main__":
    main()
