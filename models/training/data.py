"""Normalises the texts with the crate's own normaliser.

    python compose.py          # work/composed.jsonl, sentences of our own
    python data.py FOLDER      # FOLDER holds wisesight-train.jsonl, wisesight-valid.jsonl and truevoice-callcentre.jsonl

Writes work/train.jsonl, work/valid.jsonl and work/extra.jsonl: every third call-centre utterance and the composed
sentences, for the teacher to label.
"""

import argparse
import json
from pathlib import Path

from normalize import normalized
from paths import BEHAVIOUR, WORK

CALLS = 3  # every so-manieth utterance of the call centre


def write(rows: list[dict], target: Path) -> None:
    texts = normalized([row["text"] for row in rows])
    lines = [json.dumps({**row, "text": text}, ensure_ascii=False) + "\n" for row, text in zip(rows, texts)]
    target.write_text("".join(lines), encoding="utf-8")
    print(f"{len(rows):,} rows -> {target}")


def read(path: Path) -> list[dict]:
    if not path.exists():
        raise SystemExit(f"{path} is missing")
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    folder = parser.parse_args().folder
    WORK.mkdir(exist_ok=True)
    for split in ("train", "valid"):
        write(read(folder / f"wisesight-{split}.jsonl"), WORK / f"{split}.jsonl")
    calls = [{"text": row["text"], "label": None, "kind": "call"}
             for row in read(folder / "truevoice-callcentre.jsonl")[::CALLS]]
    # Composed by somebody who had not seen the behavioural tests; what is there by chance is left out.
    tested = {text for test in read(BEHAVIOUR) for text in (test["text"], test.get("other"))}
    composed = [row for row in read(WORK / "composed.jsonl") if row["text"] not in tested]
    write(calls + composed, WORK / "extra.jsonl")


if __name__ == "__main__":
    main()
