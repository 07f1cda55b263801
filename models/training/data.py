"""Step 2. Normalises the texts with the crate's own normaliser.

    python compose.py          # work/composed.jsonl, sentences of our own
    python data.py FOLDER      # FOLDER holds wisesight-train.jsonl, wisesight-valid.jsonl and truevoice-callcentre.jsonl

Writes work/train.jsonl, work/valid.jsonl and work/extra.jsonl: every third call-centre utterance and the composed
sentences, for the teacher to label. Training and serving read text through the same code, so they cannot differ.
"""

import json
import subprocess
import sys
from pathlib import Path

from paths import AROM, BEHAVIOUR, WORK

CALLS = 3  # every so-manieth utterance of the call centre


def normalize(rows: list[dict], target: Path) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with open(target, "wb") as out:
        subprocess.run([str(AROM), "normalize", "--json"], input=lines.encode(), stdout=out, check=True)
    print(f"{len(rows):,} rows -> {target}")


def read(path: Path) -> list[dict]:
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main(folder: str) -> None:
    WORK.mkdir(exist_ok=True)
    for split in ("train", "valid"):
        normalize(read(Path(folder) / f"wisesight-{split}.jsonl"), WORK / f"{split}.jsonl")
    calls = [{"text": row["text"], "label": None, "kind": "call"}
             for row in read(Path(folder) / "truevoice-callcentre.jsonl")[::CALLS]]
    # Composed by somebody who had not seen the behavioural tests; what is there by chance is left out.
    tested = {text for test in read(BEHAVIOUR) for text in (test["text"], test.get("other"))}
    composed = [row for row in read(WORK / "composed.jsonl") if row["text"] not in tested]
    normalize(calls + composed, WORK / "extra.jsonl")


if __name__ == "__main__":
    main(*sys.argv[1:])
