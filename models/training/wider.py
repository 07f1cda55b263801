"""More texts for arom-fast, labelled by arom-base.

    python wider.py      # five minutes

Six layers that are taught what twelve are do as well on the corpus and worse on other texts. So they learn from arom-base, too, what
it makes of the clauses of the training texts, and of sentences of our own that it was not taught, but of none that stands in the
validation split or the behavioural tests. Writes work/wider.jsonl: `text`,
`label` (null where no construction settles it) and `guess`, the probabilities of arom-base.
"""

import argparse
import json
import subprocess

import compose
from normalize import normalized
from paths import AROM, BEHAVIOUR, LABELS, WORK, bundle, read_rows

SHORTEST = 4  # letters of a clause


def scored(texts: list[str], *features: str) -> list[dict]:
    """What arom-base makes of the texts."""
    rows = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    command = [str(AROM), "score", "--json", "--model", str(bundle("base")), "--format", "jsonl", "--input", "-", *features]
    done = subprocess.run(command, input=rows.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    train = [row["text"] for row in read_rows("train")]
    known = {row["text"] for split in ("train", "valid", "extra") for row in read_rows(split)}
    for line in BEHAVIOUR.read_text(encoding="utf-8").splitlines():
        test = json.loads(line)
        known |= {test["text"], test.get("other")}
    rows = {}
    for text in scored(train, "--clauses"):
        for clause in text.get("clauses", []):
            if len(clause["text"]) >= SHORTEST:
                rows.setdefault(clause["text"], {"label": None, "guess": clause["probabilities"]})
    clauses = len(rows)
    own = compose.composed(compose.SEED + 1)
    own = dict(zip(normalized([row["text"] for row in own]), own))
    for text, row in zip(own, scored(list(own))):
        rows.setdefault(text, {"label": own[text]["label"], "guess": row["probabilities"]})
    with open(WORK / "wider.jsonl", "w", encoding="utf-8") as out:
        for text in (kept := [text for text in rows if text not in known]):
            row = {"text": text, "label": rows[text]["label"], "guess": [rows[text]["guess"][label] for label in LABELS]}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{len(kept):,} of {clauses:,} clauses and {len(rows) - clauses:,} sentences -> {WORK / 'wider.jsonl'}")


if __name__ == "__main__":
    main()
