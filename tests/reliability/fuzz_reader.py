"""The reader under random damage: only `InputError` with a known code may come out, and no signal.

`python tests/reliability/fuzz_reader.py --seconds 60 --seed 1` mutates the corpus's small files in child
processes; each says what it is about to read, so that the file that ended it is known. Mutations are those of
the usual fuzzers: bits and bytes changed, pieces cut, repeated, swapped with those of another file, numbers
made extreme, checksums of PNG mended so that damage goes deeper. What is found is written to --found FOLDER.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAX_PIXELS = 2_000_000
SLOWEST = 10.0  # CPU seconds for a file of at most two megapixels
EXTREME = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

# The child imports no torch, and must not: reading needs none, and loading it takes longer than 1,000 files.
CHILD = """
import sys
from reliability.fuzz_reader import read_mutants
read_mutants(int(sys.argv[1]), float(sys.argv[2]))
"""


def allowed_codes() -> frozenset[str]:
    """The codes that the docstring of `InputError` lists."""
    from anyrestore.errors import InputError

    return frozenset(re.findall(r"``(\w+)``", InputError.__doc__ or ""))


# ------------------------------------------------------------------------------------- mutations


def _flip(data: bytearray, source: random.Random, _other: bytes) -> None:
    for _ in range(source.randint(1, 4)):
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)


def _change(data: bytearray, source: random.Random, _other: bytes) -> None:
    for _ in range(source.randint(1, 4)):
        data[source.randrange(len(data))] = source.randrange(256)


def _cut(data: bytearray, source: random.Random, _other: bytes) -> None:
    at = source.randrange(len(data))
    del data[at : at + source.randint(1, 40)]


def _repeat(data: bytearray, source: random.Random, _other: bytes) -> None:
    at = source.randrange(len(data))
    data[at:at] = data[at : at + source.randint(1, 40)] * source.randint(1, 20)


def _graft(data: bytearray, source: random.Random, other: bytes) -> None:
    at, start, size = source.randrange(len(data)), source.randrange(len(other)), source.randint(1, 200)
    data[at : at + size] = other[start : start + size]


def _extreme(data: bytearray, source: random.Random, _other: bytes) -> None:
    width, order = source.choice("BHI"), source.choice("<>")
    number = struct.pack(order + width, source.choice(EXTREME) & (256 ** struct.calcsize(width) - 1))
    at = source.randrange(min(len(data), 400))  # headers come first
    data[at : at + len(number)] = number


def _end(data: bytearray, source: random.Random, _other: bytes) -> None:
    del data[source.randrange(1, len(data) + 1) :]


MUTATIONS: tuple[Callable[[bytearray, random.Random, bytes], None], ...] = (
    _flip,
    _change,
    _cut,
    _repeat,
    _graft,
    _extreme,
    _end,
)


def mutate(files: list[bytes], source: random.Random) -> bytes:
    """A file of the corpus with one to four changes."""
    data, other = bytearray(source.choice(files)), source.choice(files)
    for _ in range(source.randint(1, 4)):
        if data:
            source.choice(MUTATIONS)(data, source, other)
    if source.random() < 0.7:
        data = bytearray(with_checksums(bytes(data)))
    return bytes(data)


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the right checksums again, as far as it can be walked; others as they are."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    mended, at = bytearray(data), 8
    while at + 12 <= len(mended):
        (length,) = struct.unpack_from(">I", mended, at)
        end = at + 8 + length
        if end + 4 > len(mended):
            break
        struct.pack_into(">I", mended, end, zlib.crc32(mended[at + 4 : end]))
        at = end + 4
    return bytes(mended)


# -------------------------------------------------------------------------------------- the child


def read_mutants(seed: int, seconds: float) -> None:
    """Read mutants until the time is over; a line of JSON for each that came out wrong, and the count."""
    from anyrestore import image
    from anyrestore.errors import InputError
    from reliability import corpus

    files = [case.data for case in corpus.cases() if case.data and len(case.data) < 8000]
    codes, started, count = allowed_codes(), time.process_time(), 0
    options = (image.ReadOptions(), image.ReadOptions(allow_truncated=True, fix_nonfinite=True))
    while time.process_time() - started < seconds:
        number = seed * 1_000_003 + count
        data = mutate(files, random.Random(number))
        print(json.dumps({"reading": number}), flush=True)
        began = time.process_time()
        wrong = None
        try:
            picture = image.decode(data, max_pixels=MAX_PIXELS, options=options[count % 2])
            if picture.pixels.size == 0 or picture.pixels.size > 3 * MAX_PIXELS:
                wrong = f"pixels of shape {picture.pixels.shape}"
        except InputError as error:
            wrong = None if error.code in codes and "\n" not in str(error) else f"{error.code}: {error}"
        except Exception as error:  # noqa: BLE001 (this is what is looked for)
            wrong = repr(error)
        took = time.process_time() - began
        if wrong is None and took > SLOWEST:
            wrong = f"{took:.1f} s"
        if wrong is not None:
            print(json.dumps({"wrong": number, "why": wrong, "data": data.hex()}), flush=True)
        count += 1
    print(json.dumps({"done": count}), flush=True)


# -------------------------------------------------------------------------------------- the parent


def fuzz(seed: int, seconds: float) -> tuple[int, list[dict[str, object]]]:
    """How many mutants were read in so many CPU seconds, and those that came out wrong.

    A child that dies is a finding; another goes on behind it with another seed.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests")))}
    found, count, left = list[dict[str, object]](), 0, seconds
    while left > 0:
        command = [sys.executable, "-c", CHILD, str(seed), str(left)]
        began = time.monotonic()
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=60 + 20 * left
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        found += [line for line in lines if "wrong" in line]
        count += sum("reading" in line for line in lines)
        if lines and "done" in lines[-1] and done.returncode == 0 and not done.stderr:
            break
        last = lines[-1] if lines else {}
        found.append({"wrong": last.get("reading"), "why": f"ended with {done.returncode}: {done.stderr}"})
        if not lines:
            break
        left -= time.monotonic() - began
        seed += 1000
    return count, found


def main() -> int:
    """Fuzz for a time, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--found", type=Path, help="a folder for the files that came out wrong")
    args = parser.parse_args()
    count, found = fuzz(args.seed, args.seconds)
    print(f"{count} files read, {len(found)} came out wrong")
    for one in found:
        print(f"{one['wrong']}: {one['why']}")
        if args.found is not None and "data" in one:
            args.found.mkdir(parents=True, exist_ok=True)
            (args.found / f"crash-{one['wrong']}").write_bytes(bytes.fromhex(str(one["data"])))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
