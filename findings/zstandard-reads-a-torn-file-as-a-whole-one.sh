#!/usr/bin/env bash
# What surprised: zstandard.open(), stream_reader() and copy_stream() read a file that was cut off anywhere, up to where
#   they come, and then say "end of file": no exception, no flag, and a checksum in the frame changes nothing. The last
#   line may be half a line. decompress() does raise, as gzip.open(), lz4.frame.open(), lzma.open() and
#   backports.zstd.open() do.
# Seen with: zstandard 0.25.0, lz4 4.4.5, backports.zstd 1.8.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: an archive of events whose writer was killed, or whose disk was full,
#   restores as a shorter one with success, and whoever deletes the original afterwards loses the rest.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet zstandard==0.25.0 lz4==4.4.5 backports.zstd==1.8.0
cd "$folder"

cat > archives.py <<'PYTHON'
import gzip
import io
import lzma
import platform
import sys
from importlib.metadata import version

import backports.zstd
import lz4.frame
import zstandard

print(*(f"{name} {version(name)}" for name in ("zstandard", "lz4", "backports.zstd")), end=" ")
print("Python", platform.python_version())
EVENTS = b"".join(b"event %d\n" % number for number in range(50_000))
ZSTD = zstandard.ZstdCompressor(write_checksum=True).compress(EVENTS)


def copied(data: bytes) -> bytes:
    target = io.BytesIO()
    zstandard.ZstdDecompressor().copy_stream(io.BytesIO(data), target)
    return target.getvalue()


seen = []
for name, whole, read in (
    ("zstandard.open()", ZSTD, lambda data: zstandard.open(io.BytesIO(data)).read()),
    ("zstandard's stream_reader()", ZSTD, lambda data: zstandard.ZstdDecompressor().stream_reader(data).read()),
    ("zstandard's copy_stream()", ZSTD, copied),
    ("zstandard.decompress()", ZSTD, zstandard.decompress),
    ("backports.zstd.open()", ZSTD, lambda data: backports.zstd.open(io.BytesIO(data)).read()),
    ("lz4.frame.open()", lz4.frame.compress(EVENTS), lambda data: lz4.frame.open(io.BytesIO(data)).read()),
    ("gzip.open()", gzip.compress(EVENTS), lambda data: gzip.open(io.BytesIO(data)).read()),
    ("lzma.open()", lzma.compress(EVENTS), lambda data: lzma.open(io.BytesIO(data)).read()),
):
    assert read(whole) == EVENTS
    try:
        data = read(whole[: len(whole) // 2])
        lines = data.count(b"\n")
        said = f"no error, {lines} of 50000 events, the last one: {data[-12:]!r}"
        seen.append("read")
    except (EOFError, zstandard.ZstdError) as error:
        said = f"{type(error).__name__}: {error}"
        seen.append("refused")
    print(f"{name:27} half of the file: {said}")
if seen != ["read"] * 3 + ["refused"] * 5:
    sys.exit("this has changed")
PYTHON
venv/bin/python archives.py
