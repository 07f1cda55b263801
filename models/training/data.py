"""Step 2. Normalises the training and validation splits with the crate's own normaliser.

    python data.py FOLDER      # FOLDER holds wisesight-train.jsonl and wisesight-valid.jsonl

Writes work/train.jsonl and work/valid.jsonl. Training and serving read text through the same code, so
they cannot differ.
"""

import subprocess
import sys
from pathlib import Path

from paths import AROM, WORK


def main(folder: str) -> None:
    WORK.mkdir(exist_ok=True)
    for split in ("train", "valid"):
        source = Path(folder) / f"wisesight-{split}.jsonl"
        target = WORK / f"{split}.jsonl"
        with open(source, "rb") as rows, open(target, "wb") as out:
            subprocess.run([str(AROM), "normalize", "--json"], stdin=rows, stdout=out, check=True)
        print(f"{source} -> {target}")


if __name__ == "__main__":
    main(*sys.argv[1:])
