"""Trims the vocabulary to what Thai text uses and adds the masks.

    python vocabulary.py

Keeps the special tokens, every piece with a Thai letter, every piece seen in the training text, single
characters below U+0250, general punctuation, symbols and emoji. Writes work/tokenizer.json and
work/kept.json, the old id of each new one.
"""

import argparse
import json

from tokenizers import Tokenizer

from paths import WORK, read_rows

# What the normaliser writes, and the words whose mean embedding each mask starts from.
MASKS = {"<url>": "www http link", "<email>": "email @", "<phone>": "โทร เบอร์", "<user>": "@ คุณ"}


def wanted(piece: str) -> bool:
    """Whether a piece is kept though the training text does not use it."""
    if any("\u0e01" <= ch <= "\u0e5b" for ch in piece):
        return True
    character = piece.removeprefix("\u2581")
    if len(character) > 1:
        return False
    code = ord(character or "\u2581")
    return (
        code < 0x250
        or 0x2000 <= code < 0x2070  # general punctuation
        or 0x2190 <= code < 0x2C00  # arrows, symbols, dingbats
        or 0x1F000 <= code < 0x1FB00  # emoji
        or code == 0x2581
    )


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    definition = json.loads((WORK / "base-tokenizer.json").read_text(encoding="utf-8"))
    base = Tokenizer.from_file(str(WORK / "base-tokenizer.json"))
    texts = [row["text"] for row in read_rows("train")]
    seen = {token for encoding in base.encode_batch(texts) for token in encoding.ids}

    pieces = definition["model"]["vocab"]
    mask_id = len(pieces) - 1
    kept = [old for old, (piece, _) in enumerate(pieces)
            if old < 4 or (old != mask_id and (old in seen or wanted(piece)))]
    special = [token for token in definition["added_tokens"] if token["id"] < 4]
    vocabulary = [pieces[old] for old in kept]
    sources = [[old] for old in kept]
    for mask, words in MASKS.items():
        special.append({
            "id": len(vocabulary), "content": mask, "single_word": False,
            # A mask stands between spaces; taking them in leaves no stray pieces.
            "lstrip": True, "rstrip": True, "normalized": False, "special": False,
        })
        vocabulary.append([mask, 0.0])
        sources.append(base.encode(words, add_special_tokens=False).ids)

    definition["model"]["vocab"] = vocabulary
    definition["added_tokens"] = special
    (WORK / "tokenizer.json").write_text(
        json.dumps(definition, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    (WORK / "kept.json").write_text(json.dumps(sources))

    trimmed = Tokenizer.from_file(str(WORK / "tokenizer.json"))
    tokens = [encoding.ids for encoding in trimmed.encode_batch(texts)]
    unknown = sum(ids.count(3) for ids in tokens)
    total = sum(map(len, tokens))
    print(f"{len(pieces):,} -> {len(vocabulary):,} pieces; training text {total:,} tokens, {unknown} unknown")


if __name__ == "__main__":
    main()
