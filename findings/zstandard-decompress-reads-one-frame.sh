#!/usr/bin/env bash
# What surprised: two compressed batches one behind the other are a valid file for zstd, gzip and lz4, but
#   zstandard.decompress() returns the first one and says nothing of the rest; so do decompressobj(), read_to_iter(),
#   lz4.frame.decompress() and zlib.decompress(). zstandard.open(), copy_stream(), lz4.frame.open(), gzip, bz2, lzma and
#   the standard library's zstd (3.14, and backports.zstd) return both.
# Seen with: zstandard 0.25.0, lz4 4.4.5, backports.zstd 1.8.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: a segment to which each batch is appended compressed reads back as its first
#   batch, and a test with one batch is green. allow_extra_data=False makes it an error.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet zstandard==0.25.0 lz4==4.4.5 backports.zstd==1.8.0
cd "$folder"

cat > batches.py <<'PYTHON'
import bz2
import gzip
import io
import lzma
import platform
import sys
import zlib
from collections.abc import Callable
from importlib.metadata import version

import backports.zstd
import lz4.frame
import zstandard

print(*(f"{name} {version(name)}" for name in ("zstandard", "lz4", "backports.zstd")), end=" ")
print("Python", platform.python_version())
BATCHES = b"batch 1\n", b"batch 2\n"
ZSTANDARD = zstandard.ZstdDecompressor()


def written(compress: Callable[[bytes], bytes]) -> bytes:
    return b"".join(map(compress, BATCHES))


def copied(data: bytes) -> bytes:
    target = io.BytesIO()
    ZSTANDARD.copy_stream(io.BytesIO(data), target)
    return target.getvalue()


readers = {
    "zstandard.decompress()": (zstandard.compress, zstandard.decompress),
    "zstandard's decompressobj()": (zstandard.compress, lambda data: ZSTANDARD.decompressobj().decompress(data)),
    "zstandard's read_to_iter()": (zstandard.compress, lambda data: b"".join(ZSTANDARD.read_to_iter(data))),
    "lz4.frame.decompress()": (lz4.frame.compress, lz4.frame.decompress),
    "zlib.decompress()": (zlib.compress, zlib.decompress),
    "zstandard.open()": (zstandard.compress, lambda data: zstandard.open(io.BytesIO(data)).read()),
    "zstandard's copy_stream()": (zstandard.compress, copied),
    "backports.zstd.decompress()": (backports.zstd.compress, backports.zstd.decompress),
    "lz4.frame.open()": (lz4.frame.compress, lambda data: lz4.frame.open(io.BytesIO(data)).read()),
    "gzip.decompress()": (gzip.compress, gzip.decompress),
    "bz2.decompress()": (bz2.compress, bz2.decompress),
    "lzma.decompress()": (lzma.compress, lzma.decompress),
}
seen = []
for name, (compress, read) in readers.items():
    seen.append(read(written(compress)).count(b"\n"))
    print(f"{name:28} batches written: 2, read: {seen[-1]}")
try:
    ZSTANDARD.decompress(written(zstandard.compress), allow_extra_data=False)
except zstandard.ZstdError as error:
    print("with allow_extra_data=False:", error)
    seen.append(0)
if seen != [1] * 5 + [2] * 7 + [0]:
    sys.exit("this has changed")
PYTHON
venv/bin/python batches.py
